"""Hidden states beside the layers of a run, and in a packed one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from store import files
from store.errors import DiskFullError, RunDamagedError
from store.run import Array, Run, RunWriter, pack, read_result, read_states, write_result, write_states
from store.run.array_writer import ArrayWriter
from tests.store.run_samples import arrays, manifest, record


def states(index: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(index).normal(size=(3, 2, 4)).astype(np.float32)


def fill(folder: Path, models: int = 3) -> None:
    for index in range(models):
        about = {"index": index, "name": "model", "status": "done", "identity": {"files": [index]}}
        array = Array(states(index), "hidden", "hidden states", ("input", "layer", "width"))
        write_states(folder, about, {"hidden/last": array})
    write_result(folder, {"models": [{"n": n} for n in range(models)]}, models)


def run_with_states(path: Path) -> Path:
    with RunWriter.create_or_resume(path, manifest()) as writer:
        for index in range(len(manifest()["layers"])):
            writer.write_layer(record(index), arrays(index))
    fill(writer.path)
    return writer.path


def test_states_come_back_and_a_packed_run_has_them_twice_over(tmp_path: Path) -> None:
    folder = run_with_states(tmp_path / "run")
    found = read_states(folder, 1)
    assert found is not None
    assert found[0]["identity"] == {"files": [1]}
    np.testing.assert_array_equal(found[1]["hidden/last"], states(1))
    first = pack(folder, tmp_path / "a.h5")
    second = pack(first, tmp_path / "b.h5")
    assert read_result(folder) == read_result(first) == read_result(second) == {"models": [{"n": n} for n in range(3)]}
    for packed in (first, second):
        assert Run.open(packed).records()[0]["status"] == "done"
        with h5py.File(packed) as file:
            np.testing.assert_array_equal(file["representation/00000002/hidden/last"][:], states(2))
            assert list(file["representation/00000002/hidden/last"].attrs["dims"]) == [b"input", b"layer", b"width"]


def test_an_analysis_may_follow_and_start_afresh(tmp_path: Path) -> None:
    """Hidden states come first or last; --fresh throws away layers and leaves them."""
    fill(tmp_path / "r.globa")
    with RunWriter.create_or_resume(tmp_path / "r.globa", manifest()) as writer:
        writer.write_layer(record(0), arrays(0))
    with RunWriter.create_or_resume(tmp_path / "r.globa", manifest(), fresh=True) as writer:
        assert not writer.finished
    assert read_states(tmp_path / "r.globa", 0) is not None


def test_a_run_without_any(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as writer:
        path = writer.path
    assert read_result(path) is None
    assert read_states(path, 0) is None
    packed = pack(path, tmp_path / "a.h5", allow_incomplete=True)
    assert read_result(packed) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "link"])
def test_damaged_states_count_as_none(tmp_path: Path, damage: str) -> None:
    fill(tmp_path)
    path = tmp_path / "representation" / "00000001.h5"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[data.index(states(1).tobytes()[:8])] ^= 1
        path.write_bytes(data)
    else:
        os.rename(path, tmp_path / "elsewhere.h5")  # noqa: PTH104
        path.symlink_to(tmp_path / "elsewhere.h5")
    assert read_states(tmp_path, 1) is None
    assert read_states(tmp_path, 2) is not None


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)

    def full(fd: int, data: memoryview, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_some", full)
    with pytest.raises(DiskFullError):
        fill(tmp_path)
    monkeypatch.undo()
    assert read_states(tmp_path, 0) is not None
    assert [path.name for path in (tmp_path / "representation").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("text", ["{", "[1]", '{"models": 3}', "[" * 100_000], ids=len)
def test_a_result_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    run = tmp_path / "r.globa"
    fill(run)
    (run / "representation" / "result.json").write_text(text)
    with pytest.raises(RunDamagedError, match=r"result\.json.*; run `globa-tui represent` again$"):
        read_result(run)


def test_a_result_of_a_packed_run_cannot_be_computed_again(tmp_path: Path) -> None:
    packed = pack(run_with_states(tmp_path / "run"), tmp_path / "out.h5")
    with h5py.File(packed, "a") as file:
        del file["representation/result.json"]
        ArrayWriter().text(file["representation"], "result.json", b"[1]")
    with pytest.raises(RunDamagedError, match=r"out\.h5: .*result\.json .*; pack the run again, or copy"):
        read_result(packed)


@pytest.mark.parametrize(("damage", "reason"), [("gone", "missing"), ("cut", "damaged"), ("flipped", "checksum")])
def test_states_that_cannot_be_read_are_named_while_packing(tmp_path: Path, damage: str, reason: str) -> None:
    run = run_with_states(tmp_path / "run")
    path = run / "representation" / "00000001.h5"
    data = path.read_bytes()
    place = data.find(states(1).tobytes())
    changed = {"cut": data[:-1000], "flipped": data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]}
    path.unlink()
    if damage in changed:
        path.write_bytes(changed[damage])
    with pytest.raises(RunDamagedError, match=rf"00000001\.h5.*{reason}.*; run `globa-tui represent` again$"):
        pack(run, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "other.globa")
    assert read_result(tmp_path / "other") is not None
    run = tmp_path / "r.globa"
    run.mkdir()
    (run / "representation").symlink_to(tmp_path / "other.globa" / "representation")
    assert read_result(run) is None
    assert read_states(run, 0) is None
