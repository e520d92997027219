"""Files appear whole or not at all, and a disk that fails says so in one line."""

import errno
import os
import time
from pathlib import Path

import pytest

from store import files
from store.errors import DiskFullError, StoreError


def fail(code: int, after: int = 0):
    """Make a function of `store.files` that works so many times and then fails."""
    calls = 0

    def failing(*_args: object) -> int:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(code, os.strerror(code))
        return 0

    return failing


def listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_write_atomic_replaces_the_content(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    files.write_atomic(path, b"one")
    files.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert listing(tmp_path) == ["run.json"]


@pytest.mark.parametrize("function", ["write_some", "sync", "rename"])
@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EIO, StoreError)]
)
def test_a_failing_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, expected: type[StoreError]
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(files, function, fail(code))
    with pytest.raises(expected, match=r"run\.json") as caught:
        files.write_atomic(path, b"new")
    assert isinstance(caught.value, DiskFullError) == (expected is DiskFullError)
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["run.json"]


def test_a_full_disk_says_how_much_was_needed_and_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "write_some", fail(errno.ENOSPC))
    with pytest.raises(DiskFullError) as caught:
        files.write_atomic(tmp_path / "x", b"12345")
    assert caught.value.path == tmp_path / "x"
    assert caught.value.needed == 5
    assert caught.value.free is not None
    assert "5 bytes needed" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_and_folder_are_synced_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content before the name, the name before we return: a power cut at any moment finds a whole file."""
    steps: list[str] = []
    real_sync, real_rename = files.sync, files.rename

    def sync(fd: int) -> None:
        steps.append("sync folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "sync file")  # noqa: PTH112
        real_sync(fd)

    def rename(old: Path, new: Path) -> None:
        steps.append("rename")
        real_rename(old, new)

    monkeypatch.setattr(files, "sync", sync)
    monkeypatch.setattr(files, "rename", rename)
    files.write_atomic(tmp_path / "x", b"1")
    assert steps == ["sync file", "rename", "sync folder"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write call takes at most 2 GB, and less on some file systems."""
    real = os.pwrite
    monkeypatch.setattr(files, "write_some", lambda fd, data, offset: real(fd, data[:7], offset))
    files.write_atomic(tmp_path / "x", bytes(range(100)))
    assert (tmp_path / "x").read_bytes() == bytes(range(100))


def test_what_was_staged_can_be_read_before_it_is_published(tmp_path: Path) -> None:
    """HDF5 reads back what it wrote of its own tables."""
    with files.StagedFile(tmp_path / "x") as staged:
        staged.write(b"0123456789")
        assert staged.seek(-4, os.SEEK_END) == 6
        assert staged.read() == b"6789"
        assert staged.seek(2) == staged.tell() == 2
        buffer = bytearray(3)
        assert (staged.readinto(buffer), bytes(buffer)) == (3, b"234")
        assert staged.seek(1, os.SEEK_CUR) == 6
        assert staged.read(100) == b"6789", "not beyond the end"
        assert staged.readinto(bytearray(2)) == 0


def test_an_interrupt_while_writing_is_raised_when_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_some", interrupted)
    with files.StagedFile(tmp_path / "x") as staged:
        assert staged.write(b"12") == 2
        with pytest.raises(KeyboardInterrupt):
            staged.publish()
    assert listing(tmp_path) == []


def test_an_append_that_fails_in_the_middle_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up takes half a line; the half is cut off again, and the next line stands on its own."""
    path = tmp_path / "summary.jsonl"
    log = files.AppendFile(path)
    log.append(b"first\n")

    def half(fd: int, data: memoryview) -> int:
        os.write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "append_some", half)
        with pytest.raises(DiskFullError):
            log.append(b"second\n")
    assert path.read_bytes() == b"first\n"
    log.append(b"third\n")
    log.close()
    assert path.read_bytes() == b"first\nthird\n"


def test_half_a_line_that_could_not_be_cut_is_cut_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.jsonl"
    log = files.AppendFile(path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "append_some", lambda fd, data: os.write(fd, data[:3]) and fail(errno.EIO)())
        patch.setattr(files, "cut", fail(errno.EIO))
        with pytest.raises(StoreError):
            log.append(b"second\n")
    assert path.read_bytes() == b"sec"
    log.append(b"third\n")
    log.close()
    assert path.read_bytes() == b"third\n"


def test_lines_that_two_processes_add_in_turn_are_all_there(tmp_path: Path) -> None:
    """Journals are opened for every line, by whoever has one: nobody cuts off what came in between."""
    path = tmp_path / "journal.jsonl"
    one, other = files.AppendFile(path), files.AppendFile(path)
    for log, line in ((other, b"a\n"), (one, b"b\n"), (one, b"c\n"), (other, b"d\n")):
        log.append(line)
    one.close()
    other.close()
    assert path.read_bytes() == b"a\nb\nc\nd\n"


def test_stale_files_are_removed_and_others_stay(tmp_path: Path) -> None:
    for name in (".a.h5.tmp-1-00", "a.h5", ".hidden", "b.tmp-1"):
        (tmp_path / name).write_bytes(b"")
    assert files.remove_stale(tmp_path) == 1
    assert listing(tmp_path) == [".hidden", "a.h5", "b.tmp-1"]


def test_young_temporary_files_of_others_stay(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.tmp-1-0", tmp_path / ".b.tmp-2-0"
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 100, time.time() - 100))
    assert files.remove_stale(tmp_path, older_than=60) == 1
    assert listing(tmp_path) == [".b.tmp-2-0"]


def test_free_space_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert files.free_bytes(tmp_path / "not" / "yet") > 0


def test_ensure_free_refuses_what_does_not_fit(tmp_path: Path) -> None:
    files.ensure_free(tmp_path, 1)
    with pytest.raises(DiskFullError) as caught:
        files.ensure_free(tmp_path, 1 << 60)
    assert caught.value.needed == 1 << 60
    assert caught.value.free is not None


def test_long_names_still_fit_when_temporary(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / ("x" * 250), b"1")
    assert (tmp_path / ("x" * 250)).read_bytes() == b"1"
