"""A rehearsal of reading an HDF5 file, by a process of its own: HDF5 itself may crash, hang or take the memory there.

Run as a program, with the file as its argument, it opens every group and array and reads every attribute. It imports
nothing else of this package, so that no other module of the same name can come in its place.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from pathlib import Path

_SECONDS, _PER_BYTE = 20.0, 1e-6
"""Time that a rehearsal may take, and how much more for each byte of the file: a hundred times what ours take."""
_MEMORY = 2 << 30
_DEEPEST = 16


def require_rehearsed(name: str) -> None:
    """Read a file in a process of its own before this one does; once, until the file changes.

    Raises
    ------
    ValueError
        HDF5 did not come through.
    """
    path = Path(name)
    status = path.stat()
    if not _comes_through(path, status.st_ino, status.st_size, status.st_mtime_ns):
        msg = "HDF5 does not come through it"
        raise ValueError(msg)


@functools.lru_cache(maxsize=1024)
def _comes_through(path: Path, _inode: int, size: int, _mtime_ns: int) -> bool:
    command = [sys.executable, "-P", __file__, str(path.absolute())]
    # NumPy's library reserves memory for every thread that it may use; here it needs one.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=_SECONDS + size * _PER_BYTE,
            env=environment,
        )
        return done.returncode == 0
    return False


def read_through(path: Path) -> None:
    """Open every group and array of a file, and read every attribute."""
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        _read_group(file, set(), 0)


def _read_group(group: object, seen: set[int], depth: int) -> None:
    import h5py

    assert isinstance(group, h5py.Group)
    for name in group:
        link = group.id.links.get_info(name if isinstance(name, bytes) else str(name).encode())
        if link.type or link.u in seen or depth == _DEEPEST:
            continue
        seen.add(link.u)
        node = group[name]
        for key in node.attrs:
            node.attrs[key]
        if isinstance(node, h5py.Group):
            _read_group(node, seen, depth + 1)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    _limit_memory()
    read_through(Path(sys.argv[1]))
