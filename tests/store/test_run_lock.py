"""One writer at a time: the living keep their lock, the dead do not."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store import files, process
from store.errors import RunBusyError, RunDamagedError, StoreError
from store.run import read_lock
from store.run.lock import RunLock


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that lives until the end of the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def put_lock(folder: Path, **changes: Any) -> Path:
    info = {
        "pid": os.getpid(),
        "pid_started": process.start_time(os.getpid()),
        "namespace": process.pid_namespace(),
        "host": process.host_name(),
        "heartbeat": time.time(),
        "token": "another",
    }
    path = folder / "lock"
    path.write_text(json.dumps({**info, **changes}))
    return path


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_lock_says_who_holds_it_and_goes_with_them(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    holder = read_lock(tmp_path)
    assert holder is not None
    assert (holder.pid, holder.host) == (os.getpid(), process.host_name())
    assert not holder.is_dead
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_living_writer_is_named(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    put_lock(tmp_path, pid=other.pid, pid_started=process.start_time(other.pid))
    with pytest.raises(RunBusyError, match=f"process {other.pid} on {process.host_name()} .*cancel"):
        RunLock(tmp_path)


def test_the_same_process_cannot_write_twice(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with pytest.raises(RunBusyError):
        RunLock(tmp_path)
    lock.release()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    put_lock(tmp_path, pid=dead_pid(), pid_started=1.0)
    lock = RunLock(tmp_path)
    holder = read_lock(tmp_path)
    assert holder is not None
    assert holder.pid == os.getpid()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_pid_that_was_used_again_is_dead(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    started = process.start_time(other.pid)
    assert started is not None
    put_lock(tmp_path, pid=other.pid, pid_started=started - 5)
    RunLock(tmp_path).release()


def test_another_host_is_refused_with_its_name_and_the_age_of_its_heartbeat(tmp_path: Path) -> None:
    path = put_lock(tmp_path, host="gpu07", pid=1, heartbeat=time.time() - 125)
    with pytest.raises(RunBusyError, match=rf"on gpu07 .*last heard of 12\d s ago.*delete {path}"):
        RunLock(tmp_path)


def test_a_container_with_the_same_host_name_is_another_host(tmp_path: Path) -> None:
    """Its pids are not ours, so a pid that does not exist here says nothing."""
    put_lock(tmp_path, namespace="pid:[1]", pid=dead_pid())
    with pytest.raises(RunBusyError, match="last heard of"):
        RunLock(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff", b'{"pid": 1e999}'])
def test_a_lock_that_was_never_finished_is_taken_over_when_old(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    os.utime(path, (time.time() - 60, time.time() - 60))
    RunLock(tmp_path).release()


@pytest.mark.parametrize("ahead", [0.0, 3600.0])
def test_a_lock_whose_maker_was_killed_just_now_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """After as long as making one could take, also where the clock of the disk is ahead."""
    path, now = tmp_path / "lock", [time.time()]
    path.write_bytes(b'{"pid": 1')
    os.utime(path, (now[0] + ahead, now[0] + ahead))
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    begun = now[0]
    RunLock(tmp_path).release()
    assert 4.9 <= now[0] - begun <= 6


def test_a_lock_that_is_just_being_written_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"")
    started = process.start_time(other.pid)
    monkeypatch.setattr(time, "sleep", lambda _: put_lock(tmp_path, pid=other.pid, pid_started=started))
    with pytest.raises(RunBusyError, match=str(other.pid)):
        RunLock(tmp_path)


def test_a_lock_that_changes_hands_during_a_takeover_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    """Two processes find the same dead lock; the second must not throw away the lock of the first."""
    put_lock(tmp_path, pid=dead_pid(), pid_started=1.0)
    real = files.rename

    def first_one_wins(old: Path, new: Path) -> None:
        put_lock(tmp_path, pid=other.pid, pid_started=process.start_time(other.pid))
        monkeypatch.setattr(files, "rename", real)
        real(old, new)

    monkeypatch.setattr(files, "rename", first_one_wins)
    with pytest.raises(RunBusyError, match=str(other.pid)):
        RunLock(tmp_path)
    holder = read_lock(tmp_path)
    assert holder is not None
    assert holder.pid == other.pid
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


def test_a_heartbeat_is_written_at_most_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lock = RunLock(tmp_path)
    seen = []
    for step in range(40):
        now = 1000.0 + step / 10
        lock.heartbeat()
        holder = read_lock(tmp_path)
        assert holder is not None
        seen.append(holder.heartbeat)
    assert len(set(seen)) == 4
    assert sorted(seen) == seen
    lock.release()


def test_a_heartbeat_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lock = RunLock(tmp_path)

    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_some", full)
    now += 10
    lock.heartbeat()
    holder = read_lock(tmp_path)
    assert holder is not None
    assert holder.token == lock.info.token
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_lost_its_lock_is_told(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    lock = RunLock(tmp_path)
    put_lock(tmp_path, pid=other.pid, pid_started=process.start_time(other.pid))
    with pytest.raises(RunBusyError, match=str(other.pid)):
        lock.require()
    lock.release()
    assert (tmp_path / "lock").exists()


def test_a_deleted_lock_is_made_again(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    (tmp_path / "lock").unlink()
    lock.require()
    assert read_lock(tmp_path) == lock.info
    lock.release()


def test_a_lock_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_some", full)
    with pytest.raises(StoreError, match="lock"):
        RunLock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_start_times_tell_processes_apart(other: subprocess.Popen[bytes]) -> None:
    mine, theirs = process.start_time(os.getpid()), process.start_time(other.pid)
    assert mine is not None
    assert theirs is not None
    assert process.is_running(other.pid, theirs)
    assert not process.is_running(other.pid, theirs - 1)
    assert process.is_running(other.pid, process.UNKNOWN)
    assert process.start_time(-1) is None
    assert process.start_time(0) is None


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    started = process.start_time(child.pid) or process.UNKNOWN
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_running(child.pid, started)
    child.wait()
    assert process.start_time(child.pid) is None


def test_without_proc_the_start_time_comes_from_ps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setattr(process, "_PROC", tmp_path / "no-proc")
    answer = subprocess.CompletedProcess([], 0, stdout="S+   Sun Nov 22 08:56:22 2026\n", stderr="")
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *_args, **_kwargs: answer)
        started = process.start_time(other.pid)
        assert started == 1795337782.0
        assert process.is_running(other.pid, 1795337783.0)
        assert not process.is_running(other.pid, 1795337700.0)
        answer = subprocess.CompletedProcess([], 0, stdout="Z    Sun Nov 22 08:56:22 2026\n", stderr="")
        assert process.start_time(other.pid) is None
        answer = subprocess.CompletedProcess([], 1, stdout="", stderr="")
        assert process.start_time(other.pid) == process.UNKNOWN
        assert process.start_time(dead_pid_from(other)) is None


def dead_pid_from(other: subprocess.Popen[bytes]) -> int:
    other.kill()
    other.wait()
    return other.pid


def test_a_device_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/dev/zero")
    with pytest.raises(RunDamagedError, match="lock: not a plain file"):
        RunLock(tmp_path)


def test_a_lock_that_never_stays_away_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others take it and die, again and again."""
    gone = dead_pid()
    put_lock(tmp_path, pid=gone, pid_started=1.0)
    monkeypatch.setattr(RunLock, "_move_away", lambda lock, expected: None)
    with pytest.raises(RunBusyError, match="several processes try at once"):
        RunLock(tmp_path)


def test_a_lock_that_goes_while_it_is_looked_at_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_lock(tmp_path, pid=dead_pid(), pid_started=1.0)
    real = files.read_plain

    def gone(place: Path, limit: int = -1) -> bytes:
        path.unlink()
        monkeypatch.setattr(files, "read_plain", real)
        return real(place, limit)

    monkeypatch.setattr(files, "read_plain", gone)
    lock = RunLock(tmp_path)
    assert read_lock(tmp_path) == lock.info
    lock.release()


def test_a_disk_that_cannot_be_read_does_not_take_the_lock_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = RunLock(tmp_path)

    def stale(place: Path, limit: int = -1) -> bytes:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_plain", stale)
        lock.require()
        lock.release()
    assert read_lock(tmp_path) == lock.info
    lock.release()
    assert read_lock(tmp_path) is None


def test_a_lock_that_another_makes_after_it_was_deleted_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    lock = RunLock(tmp_path)
    (tmp_path / "lock").unlink()

    def too_late(lock: RunLock) -> bool:
        put_lock(tmp_path, pid=other.pid, pid_started=process.start_time(other.pid))
        return False

    monkeypatch.setattr(RunLock, "_create", too_late)
    with pytest.raises(RunBusyError, match=str(other.pid)):
        lock.require()
