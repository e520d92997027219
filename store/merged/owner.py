"""Who owns a temporary folder, and whether that process still runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from store import process

OWNER_FILE = ".owner.json"


def write_owner(folder: Path) -> None:
    """Leave a note of this process in a temporary folder."""
    pid = os.getpid()
    owner = {"place": _place(), "pid": pid, "started": process.start_time(pid) or process.UNKNOWN}
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
        False when it runs, when it ran where its number means nothing here, or when nobody can tell.
    """
    try:
        owner = json.loads((folder / OWNER_FILE).read_text(encoding="utf-8"))
        return owner["place"] == _place() and not process.is_running(pid, float(owner["started"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # Without a note, this process's own number can only be that of an earlier process.
        return pid == os.getpid() or not process.is_running(pid, process.UNKNOWN)


def _place() -> list[str]:
    """Return where process numbers have the meaning they have here."""
    return [process.host_name(), process.pid_namespace()]
