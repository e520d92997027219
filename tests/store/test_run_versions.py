"""Runs that released versions wrote can be opened and continued by this one."""

import shutil
from pathlib import Path

import pytest

from store.run import Run, RunWriter
from tests.store.run_samples import arrays, assert_layer, manifest, record

STORES = Path(__file__).parents[1] / "data" / "stores"


@pytest.mark.parametrize("name", ["v1", "v1.h5", "v2", "v2.h5"])
def test_a_run_of_every_version_is_read(name: str) -> None:
    opened = Run.open(STORES / name)
    assert [found["status"] for found in opened.records()] == ["done", "skipped", "done", "done", "failed"]
    assert opened.record(4)["error"] == "NaN in ft1"
    assert opened.manifest["settings"] == {"eta": [0.95, 0.8], "basis": "canonical"}
    for index in (0, 2, 3):
        assert_layer(opened.arrays(index), index)


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_run_of_every_version_is_continued(tmp_path: Path, name: str) -> None:
    shutil.copytree(STORES / name, tmp_path / name)
    with RunWriter.create_or_resume(tmp_path / name, manifest(5)) as writer:
        assert writer.finished == {0, 1, 2, 3}
        writer.write_layer(record(4), arrays(4))
    assert {found["status"] for found in Run.open(tmp_path / name).records()} == {"done", "skipped"}
