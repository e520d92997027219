"""Who owns a temporary folder, and whether that process still runs."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

OWNER_FILE = ".owner.json"


def write_owner(folder: Path) -> None:
    """Leave a note of this process in a temporary folder."""
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
    (folder / OWNER_FILE).write_text(json.dumps(owner), encoding="utf-8")


def is_abandoned(folder: Path, pid: int) -> bool:
    """Whether the process that made a temporary folder is gone for certain.

    Parameters
    ----------
    folder : Path
        The temporary folder.
    pid : int
        The number in its name, for a folder whose note was never written or already removed.

    Returns
    -------
    bool
        False when it runs, when it ran on another host, or when nobody can tell.
    """
    started: object = None
    try:
        owner = json.loads((folder / OWNER_FILE).read_text(encoding="utf-8"))
        if owner["host"] != socket.gethostname():
            return False
        started = owner["started"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if not _runs(pid):
        return True
    now = _started(pid)
    # The number may have been given to another process since.
    return started is not None and now is not None and now != started


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _started(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot, where the system tells (Linux)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
