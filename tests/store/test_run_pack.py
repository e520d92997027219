"""One HDF5 file at the end, read like a folder, and by h5py alone."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from store import files
from store.errors import DiskFullError, OutputExistsError, RunDamagedError, RunForeignError, RunIncompleteError
from store.run import FORMAT, Run, RunWriter, pack
from tests.store.run_samples import arrays, assert_layer, manifest, record, write

ROOT = Path(__file__).parents[2]


def mixed(path: Path) -> Path:
    """A complete run with a group of layers, single layers and a skipped one."""
    with RunWriter.create_or_resume(path, manifest()) as writer:
        writer.write_layers([(record(index), arrays(index)) for index in (0, 2)])
        writer.write_record(record(1, "skipped"))
        for index in (3, 4, 5):
            writer.write_layer(record(index), arrays(index))
        return writer.path


def without_place(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in found.items() if key not in {"file", "stored"}} for found in records]


def test_a_packed_run_reads_like_the_folder(tmp_path: Path) -> None:
    folder = Run.open(mixed(tmp_path / "run"))
    assert pack(folder.path, tmp_path / "out.h5") == tmp_path / "out.h5"
    packed = Run.open(tmp_path / "out.h5")
    assert packed.packed
    assert packed.manifest == folder.manifest
    assert packed.records() == without_place(folder.records())
    assert packed.refresh() == set()
    some = Run.open(tmp_path / "out.h5", limit=1)
    assert 0 < some.share_read < 1
    assert sum(found["status"] != "pending" for found in some.records()) == 1
    while some.share_read < 1:
        assert len(some.refresh(limit=1)) == 1
    assert some.records() == packed.records()
    assert some.refresh(limit=1) == set()
    for index in (0, 2, 3, 4, 5):
        assert packed.array_names(index) == folder.array_names(index)
        assert_layer(packed.arrays(index), index)
    assert list(packed.arrays(3, ["type_map"])) == ["type_map"]
    with pytest.raises(RunIncompleteError, match="skipped"):
        packed.arrays(1)


def test_packing_tells_how_far_it_is(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    pack(mixed(tmp_path / "run"), tmp_path / "out.h5", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_packing_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = mixed(tmp_path / "run")
    one, two = (pack(run, tmp_path / name).read_bytes() for name in ("one.h5", "two.h5"))
    assert one == two
    assert pack(tmp_path / "one.h5", tmp_path / "three.h5").read_bytes() == one


def test_what_is_there_is_replaced_only_when_told(tmp_path: Path) -> None:
    run = mixed(tmp_path / "run")
    (tmp_path / "out.h5").write_text("thesis")
    with pytest.raises(OutputExistsError, match=r"out\.h5"):
        pack(run, tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_text() == "thesis"
    pack(run, tmp_path / "out.h5", overwrite=True)
    assert_layer(Run.open(tmp_path / "out.h5").arrays(0), 0)


def test_an_incomplete_run_is_packed_only_when_told(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=2)
    with pytest.raises(RunIncompleteError, match=r"4 of 6 layers .*model\.layers\.2\..*pending"):
        pack(run, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
    pack(run, tmp_path / "out.h5", allow_incomplete=True)
    packed = Run.open(tmp_path / "out.h5")
    assert [found["status"] for found in packed.records()] == ["done"] * 2 + ["pending"] * 4


def test_a_damaged_layer_is_found_while_packing(tmp_path: Path) -> None:
    run = mixed(tmp_path / "run")
    path = next((run / "layers").glob("00000004-*"))
    data = bytearray(path.read_bytes())
    data[data.find(arrays(4)["spectrum/1"].values.tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunDamagedError, match="00000004.*spectrum/1.*checksum"):
        pack(run, tmp_path / "out.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.globa"]


@pytest.mark.parametrize("function", ["write_some", "sync", "rename"])
def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    run = mixed(tmp_path / "run")

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, function, full)
    with pytest.raises(DiskFullError, match=r"out\.h5"):
        pack(run, tmp_path / "out.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.globa"]


def test_space_is_asked_for_before_packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = mixed(tmp_path / "run")
    monkeypatch.setattr(files, "free_bytes", lambda _: 100)
    with pytest.raises(DiskFullError) as caught:
        pack(run, tmp_path / "out.h5")
    assert caught.value.free == 100
    assert caught.value.needed == sum(path.stat().st_size for path in (run / "layers").iterdir())


def test_an_interrupt_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(mixed(tmp_path / "run"), tmp_path / "out.h5", interrupt)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.globa"]


def test_a_newer_packed_file_says_update(tmp_path: Path) -> None:
    packed = pack(mixed(tmp_path / "run"), tmp_path / "out.h5")
    with h5py.File(packed, "a") as file:
        file.attrs["format"] = FORMAT + 1
    with pytest.raises(RunForeignError, match=r"out\.h5: written by a newer globa-tui .*update"):
        Run.open(packed)


@pytest.mark.parametrize("folder", [".", "layers", "representation"])
def test_a_packed_file_that_is_cut_off_can_only_be_packed_again(tmp_path: Path, folder: str) -> None:
    """Wherever it lies: folders of a run have such names too."""
    (tmp_path / folder).mkdir(exist_ok=True)
    packed = pack(mixed(tmp_path / "run"), tmp_path / folder / "out.h5")
    packed.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(RunDamagedError, match=r"out\.h5: damaged .*; pack the run again, or copy the file again"):
        Run.open(packed)


def test_a_layer_that_was_pending_when_a_run_was_packed_says_where_to_resume(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as writer:
        writer.write_layer(record(0), arrays(0))
        run = writer.path
    packed = pack(run, tmp_path / "out.h5", allow_incomplete=True)
    with pytest.raises(RunIncompleteError, match="is pending; resume the run it was packed from, and pack it again"):
        Run.open(packed).arrays(3)


@pytest.mark.parametrize("name", ["manifest", "summary", "layers"])
def test_a_packed_file_without_its_parts_is_named(tmp_path: Path, name: str) -> None:
    packed = pack(mixed(tmp_path / "run"), tmp_path / "out.h5")
    with h5py.File(packed, "a") as file:
        del file[name]
    with pytest.raises(RunDamagedError, match=f"out.h5: /{name}: missing; pack the run again"):
        Run.open(packed).arrays(0)


def test_a_link_to_a_packed_file_is_followed(tmp_path: Path) -> None:
    pack(mixed(tmp_path / "run"), tmp_path / "out.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "out.h5")
    assert_layer(Run.open(tmp_path / "link.h5").arrays(0), 0)


def snippets() -> list[str]:
    text = (ROOT / "docs" / "store.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_documented_way_to_read_with_h5py_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(mixed(tmp_path / "run"), tmp_path / "run.h5")
    monkeypatch.chdir(tmp_path)
    (snippet,) = snippets()
    assert "store" not in re.findall(r"^(?:import|from) (\w+)", snippet, re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(snippet, "docs/store.md", "exec"), names)
    assert names["manifest"] == Run.open("run.h5").manifest
    assert names["records"] == [found for found in Run.open("run.h5").records() if found["status"] != "pending"]
    np.testing.assert_array_equal(names["spectrum"], arrays(3)["spectrum/1"].values)
    assert "spectrum/1 ['rank'] 1 singular values of task vector 1" in capsys.readouterr().out


def test_the_documentation_names_everything(tmp_path: Path) -> None:
    """Every name in a file, and every key of the manifest, stands in docs/store.md."""
    run = mixed(tmp_path / "run")
    text = (ROOT / "docs" / "store.md").read_text()
    names = {entry.name for entry in run.iterdir()} | {"lock"}
    with h5py.File(pack(run, tmp_path / "run.h5"), "r") as file:
        names |= set(file) | set(file.attrs) | set(file["layers/00000003"].attrs)
        names |= set(file["layers/00000003/spectrum/1"].attrs) | {"record"}
    names |= set(json.loads((run / "run.json").read_text())) | {"file", "stored"}
    names |= set(manifest()["layers"][0]) | set(manifest()["sources"][0]) | set(manifest()["sources"][0]["files"][0])
    assert not {name for name in names if f"`{name}" not in text}
