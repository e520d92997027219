"""Reading a run while it grows, is damaged, is read-only or is gone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from store import files
from store.errors import RunDamagedError, RunError, RunIncompleteError, RunNotFoundError, StoreError
from store.run import Array, Run, RunWriter, layer_file
from store.run.hdf5 import open_file
from tests.store.run_samples import arrays, assert_layer, manifest, record, write

ROOT = Path(__file__).parents[2]


def layer_path(run: Path, index: int) -> Path:
    return next((run / "layers").glob(f"{index:08d}-*"))


def states(run: Run) -> list[str]:
    return [found["status"] for found in run.records()]


def test_records_are_those_of_the_manifest(tmp_path: Path) -> None:
    opened = Run.open(write(tmp_path / "run", done=2))
    assert not opened.packed
    assert opened.path == tmp_path / "run.globa"
    assert [found["index"] for found in opened.records()] == list(range(6))
    assert states(opened) == ["done"] * 2 + ["pending"] * 4
    pending = opened.record(5)
    assert pending == {**{k: record(5)[k] for k in ("index", "name", "shape", "kind", "block", "role", "error")}} | {
        "status": "pending"
    }
    done = opened.record(1)
    assert done["seconds"] == 0.5
    assert done["file"].startswith("layers/00000001-")


@pytest.mark.parametrize("name", ["run", "run.globa", "run.globa/"])
def test_a_run_is_opened_by_either_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / "run", done=1)
    assert Run.open(f"{tmp_path}/{name}").record(0)["status"] == "done"


def test_a_run_that_was_renamed_is_opened(tmp_path: Path) -> None:
    write(tmp_path / "run", done=1).rename(tmp_path / "other")
    assert_layer(Run.open(tmp_path / "other").arrays(0), 0)


def test_layers_keep_their_index_when_some_are_left_out(tmp_path: Path) -> None:
    wanted = manifest()
    wanted["layers"] = [wanted["layers"][index] for index in (1, 4, 5)]
    with RunWriter.create_or_resume(tmp_path / "run", wanted) as writer:
        writer.write_layer(record(4), arrays(4))
    opened = Run.open(writer.path)
    assert [found["index"] for found in opened.records()] == [1, 4, 5]
    assert states(opened) == ["pending", "done", "pending"]
    assert_layer(opened.arrays(4), 4)


def test_a_run_is_followed(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as writer:
        opened = Run.open(writer.path)
        assert opened.refresh() == set()
        writer.write_layer(record(3), arrays(3))
        assert opened.refresh() == {3}
        assert opened.refresh() == set()
        writer.write_record(record(4, "failed", error="NaN"))
        writer.write_layer(record(5), arrays(5))
        assert opened.refresh() == {4, 5}
        assert states(opened) == ["pending"] * 3 + ["done", "failed", "done"]
    assert_layer(opened.arrays(5), 5)


def test_a_run_that_starts_afresh_is_followed(tmp_path: Path) -> None:
    opened = Run.open(write(tmp_path / "run", done=3))
    with RunWriter.create_or_resume(opened.path, manifest(4, anchor=2), fresh=True) as writer:
        writer.write_layer(record(1), arrays(1))
    assert opened.refresh() == {0, 1, 2, 3}
    assert opened.manifest["settings"]["anchor"] == 2
    assert states(opened) == ["pending", "done", "pending", "pending"]


def test_a_record_cannot_say_it_is_another_layer(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=1)
    with (run / "summary.jsonl").open("a") as file:
        file.write(json.dumps({**record(2, "failed"), "name": "[bold]evil", "shape": "x", "extra": 1}) + "\n")
        file.write(json.dumps(record(77)) + "\n")
    opened = Run.open(run)
    assert opened.record(2)["name"] == record(2)["name"]
    assert opened.record(2)["shape"] == [6, 4]
    assert opened.record(2)["extra"] == 1
    assert len(opened.records()) == 6


def test_some_arrays_can_be_read(tmp_path: Path) -> None:
    opened = Run.open(write(tmp_path / "run", done=1))
    assert opened.array_names(0) == ["basis/left", "spectrum/1", "type_map"]
    assert list(opened.arrays(0, ["type_map", "spectrum/1"])) == ["type_map", "spectrum/1"]
    assert opened.arrays(0, []) == {}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=1)
    opened = Run.open(run)
    with pytest.raises(RunIncompleteError, match=r"q_proj.weight has no 'basis/right'.*--factors"):
        opened.arrays(0, ["basis/right"])
    with pytest.raises(RunIncompleteError, match=r"layers\.3\.self_attn.* is pending; resume"):
        opened.arrays(3)
    with pytest.raises(RunError, match="no layer 99"):
        opened.arrays(99)


@pytest.mark.parametrize("damage", ["cut", "missing", "flipped", "link"])
def test_a_damaged_layer_is_named_with_file_and_key(tmp_path: Path, damage: str) -> None:
    run = write(tmp_path / "run", done=2)
    opened = Run.open(run)
    path = layer_path(run, 1)
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:3000])
    elif damage == "flipped":
        data[data.find(arrays(1)["spectrum/1"].values.tobytes())] ^= 1
        path.write_bytes(data)
    elif damage == "link":
        path.symlink_to(layer_path(run, 0))
    with pytest.raises(RunDamagedError) as caught:
        opened.arrays(1)
    assert str(path) in str(caught.value)
    assert "resume" in str(caught.value)
    assert ("/layers/00000001/spectrum/1" if damage == "flipped" else record(1)["name"][:6]) in str(caught.value)
    assert_layer(opened.arrays(0), 0)


def test_a_layer_that_vanishes_and_comes_back_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server may lose sight of a file for a moment."""
    run = write(tmp_path / "run", done=1)
    opened = Run.open(run)
    path = layer_path(run, 0)
    away = path.rename(tmp_path / "away")
    monkeypatch.setattr("time.sleep", lambda _: away.rename(path) if away.exists() else None)
    assert_layer(opened.arrays(0), 0)


def test_a_layer_that_moves_to_another_file_is_read(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=3)
    opened = Run.open(run)
    layer_path(run, 0).unlink()
    layer_path(run, 1).unlink()
    with RunWriter.create_or_resume(run, manifest()) as writer:
        writer.write_layers([(record(1), arrays(1)), (record(0), arrays(0))])
        assert_layer(opened.arrays(0), 0)


def test_a_summary_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=2)
    shutil.copy(layer_path(run, 1), tmp_path / "evil.h5")
    with (run / "summary.jsonl").open("a") as file:
        file.write(json.dumps({**record(1), "file": "layers/../../evil.h5"}) + "\n")
    with pytest.raises(RunDamagedError, match=r"summary\.jsonl.*not a file of this run"):
        Run.open(run).arrays(1)


def test_a_run_without_summary_is_read_from_its_layers(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=3)
    (run / "summary.jsonl").unlink()
    opened = Run.open(run)
    assert states(opened) == ["done"] * 3 + ["pending"] * 3
    assert_layer(opened.arrays(2), 2)
    assert opened.refresh() == set()
    assert not (run / "summary.jsonl").exists()


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """A folder without write permission can be opened; as root permissions do not count, so look at every file too."""
    run = write(tmp_path / "run", done=3)
    entries = [run, *run.rglob("*")]
    for entry in entries:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    before = {entry: entry.stat() for entry in entries}
    opened = Run.open(run)
    opened.refresh()
    assert_layer(opened.arrays(1), 1)
    assert [run, *run.rglob("*")] == entries
    after = {entry: entry.stat() for entry in entries}
    assert {e: (s.st_mtime_ns, s.st_ino, s.st_size) for e, s in before.items()} == {
        e: (s.st_mtime_ns, s.st_ino, s.st_size) for e, s in after.items()
    }
    for entry in entries:
        entry.chmod(0o755)


def test_a_reader_opens_files_only_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(tmp_path / "run", done=1)
    for name in ("write_some", "append_some", "cut", "sync", "rename", "write_atomic", "StagedFile", "AppendFile"):
        monkeypatch.delattr(files, name)
    opened = Run.open(run)
    opened.refresh()
    assert_layer(opened.arrays(0), 0)


def test_a_reader_keeps_no_file_open(tmp_path: Path) -> None:
    opened = Run.open(write(tmp_path / "run", done=2))
    opened.arrays(0)
    opened.refresh()
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _exists(fd)]  # noqa: PTH115, PTH208
    assert not [link for link in links if "run.globa" in link]


def _exists(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_an_unreadable_file_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(tmp_path / "run", done=1)
    opened = Run.open(run)
    import h5py

    def refused(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(h5py, "File", refused)
    with pytest.raises(StoreError, match="cannot read: Permission denied") as caught:
        opened.arrays(0)
    assert not isinstance(caught.value, RunDamagedError)


def test_a_file_in_place_of_a_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.globa").write_text("")
    with pytest.raises(RunNotFoundError, match=r"x\.globa"):
        Run.open(tmp_path / "x")
    (tmp_path / "x.h5").write_text("not HDF5")
    with pytest.raises(RunDamagedError, match=r"x\.h5"):
        Run.open(tmp_path / "x.h5")


READER = """
import json, sys
from pathlib import Path
from store.run import Run
from tests.store.run_samples import assert_layer
rounds, seen, previous = 0, 0, set()
stop = Path(sys.argv[2])
while True:
    last = stop.exists()
    run = Run.open(sys.argv[1]) if rounds % 3 == 0 else run
    run.refresh()
    done = {record["index"] for record in run.records() if record["status"] == "done"}
    assert done >= previous, "a layer disappeared"
    previous = done
    for index in sorted(done):
        assert_layer(run.arrays(index), index)
        seen += 1
    rounds += 1
    print(rounds, flush=True)
    if last:
        break
print(json.dumps([rounds, seen, len(done)]))
"""


def test_readers_and_a_writer_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two readers read all layers over and over while a writer writes all of them, twice."""
    count = 30
    stop = tmp_path / "stop"
    with RunWriter.create_or_resume(tmp_path / "run", manifest(count)) as writer:
        command = [sys.executable, "-c", READER, str(writer.path), str(stop)]
        readers = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "HDF5_USE_FILE_LOCKING": locking},
            )
            for locking in ("TRUE", "FALSE")
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "1\n"
        for _ in range(2):
            for index in range(count):
                writer.write_layer(record(index), arrays(index))
        stop.touch()
    for reader in readers:
        out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err
        rounds, seen, done = json.loads(out.splitlines()[-1])
        assert done == count
        # The first round was over before the first layer was written, and the last one sees all of them.
        assert rounds >= 2
        assert seen >= count


def test_large_arrays_are_compared_with_their_checksum(tmp_path: Path) -> None:
    import numpy as np

    values = np.arange(40_000, dtype=np.float32).reshape(200, 200)
    path = tmp_path / "x.h5"
    layer_file.write_layer_file(path, [(record(0), {"core": Array(values, "1", "core", ("rows", "columns"))})])
    with open_file(path) as file:
        group = layer_file.layer_group(layer_file.layers_of(file), 0)
        found = dict(layer_file.read_arrays(group, layer_file.arrays_in(group)))
    np.testing.assert_array_equal(found["core"], values)
