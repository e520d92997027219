"""Writing and resuming a run: nothing finished is lost, and nothing damaged counts as finished."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from store import files
from store.errors import DiskFullError, RunBusyError, RunDamagedError, StoreError
from store.run import FORMAT, Run, RunWriter, layer_file, read_lock, writer
from tests.store.run_samples import arrays, assert_layer, manifest, record, write


def resume(run: Path, count: int = 6) -> RunWriter:
    return RunWriter.create_or_resume(run, manifest(count))


def finished(run: Path, count: int = 6) -> set[int]:
    with resume(run, count) as open_writer:
        return open_writer.finished


def layer_path(run: Path, index: int) -> Path:
    return next((run / "layers").glob(f"{index:08d}-*"))


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def test_a_new_run_has_its_files(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "deep" / "run", manifest()) as open_writer:
        assert open_writer.path == tmp_path / "deep" / "run.globa"
        assert sorted(entry.name for entry in open_writer.path.iterdir()) == [
            "jobs",
            "layers",
            "lock",
            "run.json",
            "summary.jsonl",
        ]
        assert open_writer.manifest["format"] == FORMAT
        assert open_writer.manifest["created"]
    assert read_lock(open_writer.path) is None


def test_a_run_is_resumed(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=3)
    before = tree(run)
    with resume(run) as open_writer:
        assert open_writer.finished == {0, 1, 2}
        open_writer.write_record(record(3, "skipped"))
        open_writer.write_record(record(4, "failed", error="NaN in ft1"))
        assert open_writer.finished == {0, 1, 2, 3}
    with resume(run) as open_writer:
        assert open_writer.finished == {0, 1, 2, 3}
        open_writer.write_layer(record(4), arrays(4))
        assert open_writer.finished == {0, 1, 2, 3, 4}
    assert finished(run) == {0, 1, 2, 3, 4}
    unchanged = {name: seen for name, seen in tree(run).items() if name in before and name != "summary.jsonl"}
    assert unchanged == {name: seen for name, seen in before.items() if name != "summary.jsonl"}


def test_resuming_what_is_whole_writes_nothing_and_opens_no_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write(tmp_path / "run")
    before = tree(run)
    monkeypatch.delattr(writer, "valid_layers")
    assert finished(run) == set(range(6))
    assert tree(run) == before


def test_the_last_record_of_a_layer_counts(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as open_writer:
        open_writer.write_record(record(2, "failed", error="NaN"))
        open_writer.write_layer(record(2), arrays(2))
        open_writer.write_layer(record(3), arrays(3))
        open_writer.write_record(record(3, "failed", error="NaN"))
    assert finished(open_writer.path) == {2}
    states = [found["status"] for found in Run.open(open_writer.path).records()]
    assert states == ["pending", "pending", "done", "failed", "pending", "pending"]


@pytest.mark.parametrize("changes", [{"index": 99}, {"index": "0"}, {"index": True}, {"name": "x"}, {"status": "ok"}])
def test_a_record_of_another_run_is_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as open_writer:
        with pytest.raises(ValueError, match="expected"):
            open_writer.write_layer({**record(1), **changes}, arrays(1))
        with pytest.raises(ValueError, match="expected"):
            open_writer.write_record(record(1, "done"))
        assert open_writer.finished == set()
        assert list((open_writer.path / "layers").iterdir()) == []


def test_a_group_of_layers_shares_a_file(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as open_writer:
        open_writer.write_layers([(record(index), arrays(index)) for index in (1, 2, 4)])
        open_writer.write_layers([])
    assert len(list((open_writer.path / "layers").iterdir())) == 1
    opened = Run.open(open_writer.path)
    for index in (1, 2, 4):
        assert_layer(opened.arrays(index), index)
    assert finished(open_writer.path) == {1, 2, 4}


def test_a_group_with_one_damaged_layer_keeps_the_others(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as open_writer:
        open_writer.write_layers([(record(index), arrays(index)) for index in (1, 2, 4)])
    path = layer_path(open_writer.path, 1)
    data = bytearray(path.read_bytes())
    data[data.find(arrays(2)["spectrum/1"].values.tobytes())] ^= 1
    path.write_bytes(data)
    with resume(open_writer.path) as again:
        assert again.finished == {1, 4}
        again.write_layer(record(2), arrays(2))
    assert finished(open_writer.path) == {1, 2, 4}
    for index in (1, 2, 4):
        assert_layer(Run.open(open_writer.path).arrays(index), index)


# What happens to a run between two sessions.


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "flipped", "other", "link", "folder"])
def test_a_damaged_layer_file_is_unfinished(tmp_path: Path, damage: str) -> None:
    run = write(tmp_path / "run", done=4)
    path = layer_path(run, 2)
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        data[data.find(arrays(2)["basis/left"].values.tobytes())] ^= 1
        path.write_bytes(data)
    elif damage == "other":
        shutil.copy(layer_path(run, 1), path)
    elif damage == "link":
        (tmp_path / "x.h5").write_bytes(data)
        path.symlink_to(tmp_path / "x.h5")
    elif damage == "folder":
        path.mkdir()
    assert finished(run) == {0, 1, 3}
    records = Run.open(run).records()
    assert [found["status"] for found in records] == ["done", "done", "pending", "done", "pending", "pending"]
    if damage != "folder":
        with resume(run) as open_writer:
            open_writer.write_layer(record(2), arrays(2))
        assert_layer(Run.open(run).arrays(2), 2)
        assert finished(run) == {0, 1, 2, 3}


@pytest.mark.parametrize("keep", [0, 1, 50, -1, -2, -40])
def test_a_torn_summary_loses_no_layer(tmp_path: Path, keep: int) -> None:
    """Layers whose line is torn or gone are found again by their files, which hold their records too."""
    run = write(tmp_path / "run", done=4)
    path = run / "summary.jsonl"
    path.write_bytes(path.read_bytes()[:keep])
    with resume(run) as open_writer:
        assert open_writer.finished == {0, 1, 2, 3}
        open_writer.write_layer(record(4), arrays(4))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert sorted(line["index"] for line in lines) == [0, 1, 2, 3, 4]
    found = Run.open(run)
    for index in range(5):
        assert_layer(found.arrays(index), index)
        assert found.record(index)["rank"] == [index, 2]


def test_a_lost_summary_is_built_again(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=4)
    (run / "summary.jsonl").unlink()
    assert finished(run) == {0, 1, 2, 3}
    assert len((run / "summary.jsonl").read_bytes().splitlines()) == 4


def test_a_run_that_was_copied_is_read_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(tmp_path / "run", done=4)
    for path in (run / "layers").iterdir():
        os.utime(path)
    assert finished(run) == {0, 1, 2, 3}
    monkeypatch.delattr(writer, "valid_layers")
    assert finished(run) == {0, 1, 2, 3}


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=2)
    (run / "layers" / "notes.txt").write_text("mine")
    (run / "layers" / "other.h5").write_text("mine")
    (run / "layers" / ".00000009-x.h5.tmp-99-abcd").write_bytes(b"half a layer")
    (run / ".run.json.tmp-99-abcd").write_bytes(b"half a manifest")
    assert finished(run) == {0, 1}
    assert {"notes.txt", "other.h5"} < {entry.name for entry in (run / "layers").iterdir()}
    assert not [path for path in run.rglob("*") if ".tmp-" in path.name]


def test_a_summary_that_names_files_elsewhere_is_not_followed(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=2)
    shutil.copy(layer_path(run, 1), tmp_path / "evil.h5")
    lines = (run / "summary.jsonl").read_text().splitlines()
    evil = {**json.loads(lines[1]), "file": "layers/../../evil.h5"}
    layer_path(run, 1).unlink()
    (run / "summary.jsonl").write_text(f"{lines[0]}\n{json.dumps(evil)}\n")
    assert finished(run) == {0}


# A disk that fails.


def failing(code: int, after: int, real: Any) -> Any:
    calls = 0

    def fail(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(code, os.strerror(code))
        return real(*args)

    return fail


def fault_points() -> list[tuple[str, int]]:
    """Each kind of access to the disk, at the first and at later calls while a layer is written."""
    return [("write_some", 0), ("write_some", 5), ("cut", 0), ("sync", 0), ("sync", 1), ("sync", 2), ("rename", 0)] + [
        ("append_some", 0)
    ]


@pytest.mark.parametrize(("function", "after"), fault_points())
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_a_failing_disk_loses_no_finished_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, after: int, code: int
) -> None:
    run = write(tmp_path / "run", done=2)
    with resume(run) as open_writer:
        with monkeypatch.context() as patch:
            if (function, after) in (("write_some", 5), ("cut", 0)):
                patch.setattr(layer_file, "_SMALL", -1)  # a large layer is not made in memory, but written bit by bit
            patch.setattr(files, function, failing(code, after, getattr(files, function)))
            expected = DiskFullError if code == errno.ENOSPC else StoreError
            with pytest.raises(expected) as caught:
                open_writer.write_layer(record(2), arrays(2))
        assert str(run) in str(caught.value)
        assert isinstance(caught.value, DiskFullError) == (code == errno.ENOSPC)
        assert open_writer.finished == {0, 1}
        assert not [path for path in run.rglob("*") if ".tmp-" in path.name]
        opened = Run.open(run)
        assert_layer(opened.arrays(0), 0)
        assert_layer(opened.arrays(1), 1)
        # Somebody frees some space: the same writer goes on.
        open_writer.write_layer(record(2), arrays(2))
        open_writer.write_layer(record(3), arrays(3))
    assert finished(run) == {0, 1, 2, 3}
    for index in range(4):
        assert_layer(Run.open(run).arrays(index), index)


def test_a_disk_that_is_nearly_full_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(tmp_path / "run", done=1)
    monkeypatch.setattr(files, "free_bytes", lambda _: 10)
    with resume(run) as open_writer, pytest.raises(DiskFullError) as caught:
        open_writer.write_layer(record(1), arrays(1))
    needed = sum(array.values.nbytes for array in arrays(1).values())
    assert (caught.value.needed, caught.value.free) == (needed, 10)


@pytest.mark.parametrize("function", ["write_some", "sync", "rename"])
def test_a_run_that_could_not_be_started_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, function, failing(errno.ENOSPC, 0, getattr(files, function)))
        with pytest.raises(DiskFullError):
            RunWriter.create_or_resume(tmp_path / "run", manifest())
    assert read_lock(tmp_path / "run.globa") is None
    assert finished(tmp_path / "run") == set()


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as first:
        first.write_layer(record(0), arrays(0))
        with pytest.raises(RunBusyError, match=f"process {os.getpid()}"):
            RunWriter.create_or_resume(tmp_path / "run", manifest(), fresh=True)
        first.write_layer(record(1), arrays(1))
    assert finished(first.path) == {0, 1}


def test_a_writer_that_lost_its_lock_writes_nothing_more(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run", manifest()) as open_writer:
        open_writer.write_layer(record(0), arrays(0))
        lock = open_writer.path / "lock"
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "token": "another"}))
        before = tree(open_writer.path)
        for attempt in (
            lambda: open_writer.write_layer(record(1), arrays(1)),
            lambda: open_writer.write_record(record(2, "skipped")),
        ):
            with pytest.raises(RunBusyError):
                attempt()
        assert tree(open_writer.path) == before
    assert lock.exists()


def test_a_refused_resume_gives_the_lock_back(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=1)
    with pytest.raises(StoreError, match="settings"):
        RunWriter.create_or_resume(run, manifest(anchor=2))
    assert read_lock(run) is None


def test_hostile_tensor_names_are_written_inside(tmp_path: Path) -> None:
    names = ["../../../evil", "/etc/x", "a\nb\x1b[31m", "x" * 300, "über/α", "", "."]
    wanted = manifest(len(names))
    for layer, name in zip(wanted["layers"], names, strict=True):
        layer["name"] = name
    with RunWriter.create_or_resume(tmp_path / "sub" / "run", wanted) as open_writer:
        for index, name in enumerate(names):
            open_writer.write_layer({**record(index), "name": name}, arrays(index))
    assert len(list((open_writer.path / "layers").iterdir())) == len(names)
    assert [entry.name for entry in tmp_path.iterdir()] == ["sub"]
    assert [entry.name for entry in (tmp_path / "sub").iterdir()] == ["run.globa"]
    opened = Run.open(open_writer.path)
    assert [found["name"] for found in opened.records()] == names
    for index in range(len(names)):
        assert_layer(opened.arrays(index), index)


def test_fresh_leaves_a_strangers_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "exp.globa"
    (folder / "layers").mkdir(parents=True)
    kept = {"run.json": '{"experiment": 12}', "summary.jsonl": "mine\n", "layers/weights.csv": "1,2\n"}
    for name, text in kept.items():
        (folder / name).write_text(text)
    with pytest.raises(RunDamagedError, match="not a run of globa-tui, so --fresh leaves it alone"):
        RunWriter.create_or_resume(folder, manifest(), fresh=True)
    assert {name: (folder / name).read_text() for name in kept} == kept


def test_fresh_removes_layer_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "run.globa"
    with RunWriter.create_or_resume(folder, manifest()):
        pass
    (folder / "layers" / "notes.txt").write_text("mine")
    (folder / "layers" / "00000003-x.h5").write_text("old")
    with RunWriter.create_or_resume(folder, manifest(), fresh=True):
        pass
    assert [path.name for path in (folder / "layers").iterdir()] == ["notes.txt"]
