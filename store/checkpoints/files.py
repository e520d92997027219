"""Opening files that strangers named: regular files only, and only inside the folder they belong to."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path, PurePosixPath

from store.checkpoints.text import shown
from store.errors import CheckpointError


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[FileIO]:
    """Open a file for unbuffered reading, if it is a regular file.

    A FIFO or a device would block or have side effects, so the kind is checked before opening and once more on the
    opened file. What fails within the block, as on a mount that was dropped, is an error that names the file.

    Raises
    ------
    CheckpointError
        When it is missing, unreadable, or not a regular file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _not_regular(path)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    with FileIO(descriptor, "rb") as file:
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _not_regular(path)
            yield file
        except OSError as error:
            raise unreadable(path, error) from error


def read_small(path: Path, limit: int) -> bytes:
    """Read a whole file that must not be larger than ``limit`` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            message = f"{shown(path)}: {size:,} bytes where at most {limit:,} are expected; fetch the file again"
            raise CheckpointError(message)
        return file.read(limit + 1)[:limit]


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """Turn a failed system call on a source into one line."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CheckpointError(f"{shown(path)}: cannot be read ({shown(reason)}); check the path and its permissions")


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file a folder's index names, if it stays inside that folder.

    Symbolic links may lead elsewhere in the folder, or from a snapshot of the Hugging Face cache to the blobs of the
    same repository; nowhere else.

    Raises
    ------
    CheckpointError
        When the name is absolute, climbs with ``..``, or leads out through a link.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or Path(name).is_absolute():
        message = f"{shown(folder)}: names the file {shown(repr(name))}, which is not inside the folder; fetch it again"
        raise CheckpointError(message)
    path = folder.joinpath(*parts)
    try:
        target, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise unreadable(path, error) from error
    if not any(target.is_relative_to(root) for root in _homes(home)):
        message = f"{shown(path)}: is a link out of its folder, to {shown(target)}; put the file itself there"
        raise CheckpointError(message)
    return path


def _homes(home: Path) -> tuple[Path, ...]:
    """Folders a model's files may resolve into: its own, and in the Hub cache the repository's blobs."""
    repository = home.parent.parent
    if home.parent.name == "snapshots" and repository.name.startswith("models--"):
        return home, repository / "blobs"
    return (home,)


def _not_regular(path: Path) -> CheckpointError:
    return CheckpointError(f"{shown(path)}: is not a regular file; name a model folder or a .safetensors file")
