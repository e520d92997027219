"""Every change on disk goes through here: written under a temporary name, synced, renamed.

A file is there whole or not at all, whatever happens in between. The five functions that touch the disk (`write_some`,
`append_some`, `cut`, `sync`, `rename`) are looked up in this module at each call, so that a test can make them fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from store.errors import DiskFullError, StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES})
_MARK = ".tmp-"

ABANDONED_SECONDS = 600.0
"""A temporary file that nobody wrote to for so long belongs to a process that was killed."""


def write_some(fd: int, data: memoryview, offset: int) -> int:
    """Write at an offset; may write less than asked for."""
    return os.pwrite(fd, data, offset)


def append_some(fd: int, data: memoryview) -> int:
    """Write at the end; may write less than asked for."""
    return os.write(fd, data)


def cut(fd: int, size: int) -> None:
    """Give an open file this size."""
    os.ftruncate(fd, size)


def sync(fd: int) -> None:
    """Wait until what was written is on the disk."""
    os.fsync(fd)


def rename(source: Path, target: Path) -> None:
    """Give a file another name, replacing what had it, in one step."""
    source.replace(target)


@contextlib.contextmanager
def disk_errors(path: Path, action: str = "write", needed: int | None = None) -> Iterator[None]:
    """Turn an operating-system error into one of ours that names the file.

    Parameters
    ----------
    path : Path
        The file the reader knows, not its temporary name.
    action : str
        What failed, for the message.
    needed : int or None
        Bytes that were to be written, for a full disk.

    Raises
    ------
    DiskFullError
        No space or no quota left.
    StoreError
        Anything else the operating system refuses.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(path, needed, _free_or_none(path)) from error
        reason = error.strerror or str(error)
        msg = f"{path}: cannot {action}: {reason}"
        raise StoreError(msg) from error


def free_bytes(path: Path) -> int:
    """Bytes this user may still write on the disk that holds `path`, which need not exist yet."""
    place = Path(path).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    with disk_errors(place, "read the free space"):
        return shutil.disk_usage(place).free


def _free_or_none(path: Path) -> int | None:
    try:
        return free_bytes(path)
    except StoreError:
        return None


def ensure_free(path: Path, needed: int) -> None:
    """Check that `needed` bytes fit on the disk that holds `path`.

    Raises
    ------
    DiskFullError
        They do not.
    """
    free = free_bytes(path)
    if free < needed:
        raise DiskFullError(Path(path), needed, free)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; a file system that cannot is left alone."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        sync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, on the disk when this returns."""
    if folder.is_dir():
        return
    with disk_errors(folder, "make the folder"):
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


class StagedFile:
    """A file under a temporary name beside its own, which `publish` gives it.

    It has what h5py asks of a Python file. HDF5 keeps a file it failed to write open and fails again at exit, so a
    failed or interrupted write is remembered, further writes are dropped, and `publish` raises what was remembered.

    Parameters
    ----------
    path : Path
        The name to publish under.
    durable : bool
        Sync file and folder; without it the file is still whole or absent, but may be lost with the power.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name[:100]}{_MARK}{os.getpid()}-{secrets.token_hex(4)}")
        self._durable = durable
        self._position = 0
        self._end = 0
        self._failure: BaseException | None = None
        with disk_errors(path):
            self._fd = os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        self._position = offset + (os.fstat(self._fd).st_size if start is None else start)
        return self._position

    def tell(self) -> int:
        """Return the offset."""
        return self._position

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data`, unless a write failed before."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self._failure is None:
                done += write_some(self._fd, view[done:], self._position + done)
        except BaseException as error:  # also an interrupt; publish raises it
            self._failure = error
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read what was written."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            got = os.preadv(self._fd, [view[done:]], self._position + done)
            if not got:
                break
            done += got
        self._position += done
        return done

    def read(self, size: int = -1) -> bytes:
        """Read what was written."""
        left = max(os.fstat(self._fd).st_size - self._position, 0)
        buffer = bytearray(left if size < 0 else min(size, left))
        got = self.readinto(buffer)
        return bytes(buffer[:got])

    def truncate(self, size: int | None = None) -> int:
        """Give the file a size."""
        wanted = self._position if size is None else size
        if self._failure is None:
            try:
                cut(self._fd, wanted)
            except BaseException as error:  # also an interrupt; publish raises it
                self._failure = error
        return wanted

    def flush(self) -> None:
        """Do nothing: `publish` syncs."""

    def publish(self) -> os.stat_result:
        """Sync the file, give it its name, sync the folder.

        Returns
        -------
        os.stat_result
            Size and time of the published file.

        Raises
        ------
        DiskFullError, StoreError
            A write, the sync or the rename failed; the old file, if any, is untouched.
        """
        with disk_errors(self.path, needed=self._end):
            if self._failure is not None:
                raise self._failure
            if self._durable:
                sync(self._fd)
            result = os.fstat(self._fd)
            rename(self.temporary, self.path)
            if self._durable:
                sync_folder(self.path.parent)
        return result

    def close(self) -> None:
        """Close, and remove the temporary file unless it was published."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(OSError):
            self.temporary.unlink()

    def __enter__(self) -> StagedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file by `data`, or leave it as it was.

    Parameters
    ----------
    path : Path
        The file.
    data : bytes
        Its new content.
    durable : bool
        Sync; without it, faster, for status files that are rewritten every second.
    """
    with StagedFile(path, durable=durable) as staged:
        staged.write(data)
        staged.publish()


class NotPlainError(OSError):
    """Something else than a plain file is where one should be: a link, a pipe, a device, a folder."""

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "not a plain file, and nothing else is followed; delete it")


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file of a run, which a stranger may have made: no link is followed, no pipe waited for, no device read.

    Returns
    -------
    int
        Its descriptor.

    Raises
    ------
    NotPlainError
        It is anything but a plain file.
    OSError
        The operating system refuses.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise NotPlainError from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotPlainError
    return fd


def read_plain(path: Path, limit: int = -1) -> bytes:
    """Read a file of a run, or its first `limit` bytes; see `open_plain`."""
    with os.fdopen(open_plain(path), "rb") as file:
        return file.read(limit)


class AppendFile:
    """A file that only grows, by whole lines.

    Parameters
    ----------
    path : Path
        The file, made if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            self._fd = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size
        self._torn = False

    def append(self, data: bytes) -> None:
        """Add `data` and wait until it is on the disk; a failed append leaves the file as it was.

        Raises
        ------
        DiskFullError, StoreError
            It could not be written.
        """
        with disk_errors(self.path, needed=len(data)):
            # Only after an append of ours that failed: what else came since may be another process's.
            if self._torn:
                self._restore()
            try:
                view = memoryview(data)
                while view:
                    view = view[append_some(self._fd, view) :]
                sync(self._fd)
            except OSError:
                self._torn = True
                with contextlib.suppress(OSError):
                    self._restore()
                raise
        self._size = os.fstat(self._fd).st_size

    def _restore(self) -> None:
        if os.fstat(self._fd).st_size != self._size:
            cut(self._fd, self._size)
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def remove_stale(folder: Path, older_than: float = 0.0, name: str = "") -> int:
    """Remove temporary files that a killed process left in a folder.

    Parameters
    ----------
    folder : Path
        Looked at without its subfolders.
    older_than : float
        Seconds; younger ones stay. Needed where other processes write too.
    name : str
        Only those of the file that was to have this name.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    if not folder.is_dir():
        return removed
    limit = time.time() - older_than
    start = f".{name[:100]}{_MARK}" if name else "."
    for entry in list(os.scandir(folder)):
        if not (entry.name.startswith(start) and _MARK in entry.name):
            continue
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and (older_than <= 0 or status.st_mtime < limit):
                Path(entry.path).unlink()
                removed += 1
    return removed
