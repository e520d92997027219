"""The lock of a run: one writer at a time, and none that died keeps it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from store import files, process
from store.errors import RunBusyError, RunDamagedError, StoreError
from store.run.layout import LOCK

HEARTBEAT_SECONDS = 1.0
"""A heartbeat is written at most this often."""

_UNFINISHED_SECONDS = 5.0
_SIZE_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who writes a run."""

    pid: int
    pid_started: float
    """Start time of that process, on a clock of its host."""
    namespace: str
    """Set of pids the number belongs to; empty where unknown."""
    host: str
    heartbeat: float
    """Seconds since 1970 when it last said that it lives."""
    token: str

    @property
    def is_here(self) -> bool:
        """Whether this process can see that one."""
        same_pids = self.namespace == process.pid_namespace() or not self.namespace
        return self.host == process.host_name() and same_pids

    @property
    def is_dead(self) -> bool:
        """Whether the writer is known to have ended."""
        return self.is_here and not process.is_running(self.pid, self.pid_started)

    @property
    def age(self) -> float:
        """Seconds since the last heartbeat."""
        return max(0.0, time.time() - self.heartbeat)


def read_lock(folder: Path) -> LockInfo | None:
    """Who holds the lock of a run; None when nobody does, or the lock is unreadable."""
    try:
        return _parse(_read(folder / LOCK))
    except OSError:
        return None


def _read(path: Path) -> bytes:
    return files.read_plain(path, _SIZE_LIMIT)


def _parse(data: bytes) -> LockInfo | None:
    try:
        found = json.loads(data)
        return LockInfo(
            pid=int(found["pid"]),
            pid_started=float(found["pid_started"]),
            namespace=str(found.get("namespace", "")),
            host=str(found["host"]),
            heartbeat=float(found["heartbeat"]),
            token=str(found["token"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


class RunLock:
    """The lock, held.

    Parameters
    ----------
    folder : Path
        The run folder.

    Raises
    ------
    RunBusyError
        Another process holds it: a living one on this machine, or any on another one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._mutex = threading.Lock()
        pid = os.getpid()
        self.info = LockInfo(
            pid=pid,
            pid_started=process.start_time(pid) or process.UNKNOWN,
            namespace=process.pid_namespace(),
            host=process.host_name(),
            heartbeat=time.time(),
            token=secrets.token_hex(8),
        )
        self._written = time.monotonic()
        self._acquire()

    def _acquire(self) -> None:
        for _ in range(20):
            if self._create():
                return
            self._clear_stale()
        msg = f"{self._path}: cannot be taken, several processes try at once; run again"
        raise RunBusyError(msg)

    def _create(self) -> bool:
        with files.disk_errors(self._path):
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                return False
            try:
                files.write_some(fd, memoryview(_dump(self.info)), 0)
            except OSError:
                self._path.unlink(missing_ok=True)
                raise
            finally:
                os.close(fd)
        return True

    def _clear_stale(self) -> None:
        """Remove the lock of a dead process, or say who holds it."""
        try:
            data = _read(self._path)
            written = self._path.stat().st_mtime
        except files.NotPlainError as error:
            msg = f"{self._path}: {error.strerror}"
            raise RunDamagedError(msg) from error
        except OSError:
            return
        holder = _parse(data)
        if holder is None:
            if not self._stays_unfinished(data, written):
                return
        elif not holder.is_dead:
            raise RunBusyError(_busy(self._path, holder))
        self._move_away(data)

    def _stays_unfinished(self, data: bytes, written: float) -> bool:
        """Whether a lock that nobody can read is just being made, or its maker died in between.

        Told by its age, and by waiting where the clock of the disk is ahead of ours.
        """
        end = time.monotonic() + _UNFINISHED_SECONDS
        while time.time() - written < _UNFINISHED_SECONDS and time.monotonic() < end:
            time.sleep(0.25)
            try:
                if _read(self._path) != data or self._path.stat().st_mtime != written:
                    return False
            except OSError:
                return False
        return True

    def _move_away(self, expected: bytes) -> None:
        """Remove the lock with this content; one that another process made meanwhile is put back."""
        aside = self._path.with_name(f".{LOCK}.tmp-{self.info.pid}-{self.info.token}")
        with files.disk_errors(self._path, "take over"), contextlib.suppress(FileNotFoundError):
            files.rename(self._path, aside)
            if _read(aside) != expected:
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._path)
            aside.unlink()

    def heartbeat(self) -> None:
        """Say that the writer lives, at most once a second.

        A disk that is full or away does not matter here: the next layer will tell.

        Raises
        ------
        RunBusyError
            The lock was taken away from this process.
        """
        with self._mutex:
            now = time.monotonic()
            if now - self._written < HEARTBEAT_SECONDS:
                return
            self._written = now
            try:
                self._require()
            except RunBusyError:
                raise
            except StoreError:
                return
            self.info = LockInfo(**{**asdict(self.info), "heartbeat": time.time()})
            with contextlib.suppress(StoreError):
                files.write_atomic(self._path, _dump(self.info), durable=False)

    def require(self) -> None:
        """Check that this process still holds the lock; one that was deleted is made again."""
        with self._mutex:
            self._require()

    def _require(self) -> None:
        try:
            holder = _parse(_read(self._path))
        except FileNotFoundError:
            if self._create():
                return
            holder = read_lock(self._path.parent)
        except OSError:
            return
        if holder is not None and holder.token != self.info.token:
            raise RunBusyError(_busy(self._path, holder))

    def release(self) -> None:
        """Give the lock back; does nothing when it is no longer held."""
        with self._mutex:
            holder = read_lock(self._path.parent)
            if holder is not None and holder.token == self.info.token:
                with contextlib.suppress(OSError):
                    self._path.unlink()


def _dump(info: LockInfo) -> bytes:
    return json.dumps({field.name: getattr(info, field.name) for field in fields(info)}).encode()


def _busy(path: Path, holder: LockInfo) -> str:
    run = path.parent
    if holder.is_here:
        return (
            f"{run}: process {holder.pid} on {holder.host} is writing it; "
            f"wait, or stop it with `globa-tui cancel {run}`"
        )
    return (
        f"{run}: process {holder.pid} on {holder.host} is writing it, last heard of {holder.age:.0f} s ago; "
        f"stop it there, or delete {path} if it is gone"
    )
