"""A real run of every format: what people have on their disks is shown, merged and resumed by this version."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.records import call
from tests.data.make_store import PLACE

STORES = Path(__file__).parents[1] / "data" / "stores"
VERSIONS = sorted(path.name for path in STORES.glob("real-v*"))


@pytest.fixture(params=VERSIONS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, with the models where the manifest says, as old as it says."""
    shutil.copytree(STORES / request.param, tmp_path / "then")
    path = tmp_path / "then" / "run" / "run.json"
    path.write_text(path.read_text().replace(PLACE, str(tmp_path / "then")))
    manifest = json.loads(path.read_text())
    for source in manifest["sources"]:
        for file in source["files"]:
            os.utime(Path(source["path"]) / file["name"], ns=(file["mtime_ns"], file["mtime_ns"]))
    return tmp_path / "then"


def contains(now: Any, then: Any) -> bool:
    """Whether everything that was told then is told now; more may be."""
    if isinstance(then, dict):
        return all(key in now and contains(now[key], value) for key, value in then.items())
    if isinstance(then, list):
        return len(now) == len(then) and all(map(contains, now, then))
    return bool(now == then)


def test_it_is_shown_as_it_was(place: Path) -> None:
    now = json.loads(call("show", str(place / "run"), "--json").out)
    then = json.loads((place / "then.json").read_text())
    assert contains(now["layers"], then)
    assert [layer["status"] for layer in then].count("failed") == 1


def test_it_is_packed_and_merged(place: Path) -> None:
    packed = str(place / "packed.h5")
    assert call("pack", str(place / "run"), packed, "--incomplete", "--quiet").code == 0
    expected = load_file(place / "merged.safetensors")
    for number, run in enumerate((str(place / "run"), packed)):
        out = place / f"out{number}"
        merged = call("merge", run, "-o", str(out), "--allow-failed", "--quiet")
        assert merged.code == 0, merged.err
        for name, weight in load_file(out / "model.safetensors").items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6, equal_nan=True)


def test_it_is_resumed_without_computing_again_what_is_there(place: Path) -> None:
    layers = sorted((place / "run" / "layers").iterdir())
    kept = layers[1].stat()
    layers[0].unlink()
    sources = [str(place / "models" / name) for name in ("base", "ft1", "ft2")]
    run = place.parent / "run.globa"
    (place / "run").rename(run)
    resumed = call("analyze", *sources, "--store", str(run), "--json", "--quiet")
    assert json.loads(resumed.out)["computed"] == 1, resumed.err
    after = (run / "layers" / layers[1].name).stat()
    assert (after.st_ino, after.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
