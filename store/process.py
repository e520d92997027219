"""Which process is which: a pid is used again, a pid with its start time is not."""

from __future__ import annotations

import calendar
import os
import platform
import subprocess
import time
from pathlib import Path

_PROC = Path("/proc")
UNKNOWN = 0.0
"""Start time of a process that exists but does not tell when it started."""


def host_name() -> str:
    """Name of this machine."""
    return platform.node()


def pid_namespace() -> str:
    """Name of the set of pids this process sees; empty where there is only one."""
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def start_time(pid: int) -> float | None:
    """When a process of this machine started.

    Parameters
    ----------
    pid : int
        Its number.

    Returns
    -------
    float or None
        Seconds on a clock of this machine (since boot on Linux, which no correction of the wall clock moves; since 1970
        elsewhere), good only for comparing; `UNKNOWN` when it exists and hides; None when there is none, or only the
        remains of one that ended.
    """
    if pid <= 0:
        return None
    if (_PROC / "self/stat").exists():
        return _start_from_proc(pid)
    return _start_from_ps(pid)


def is_running(pid: int, started: float) -> bool:
    """Whether the process that had this pid and this start time still runs here."""
    now = start_time(pid)
    if now is None:
        return False
    if UNKNOWN in (now, started):
        return True
    # /proc counts in ticks and repeats exactly; ps rounds to whole seconds.
    return abs(now - started) < (0.005 if (_PROC / "self/stat").exists() else 2.0)


def _start_from_proc(pid: int) -> float | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return _exists(pid)
    except PermissionError:
        return UNKNOWN
    # The second field is the command in brackets and may itself hold brackets and blanks.
    fields = text.rpartition(")")[2].split()
    if fields[0] in {"Z", "X", "x"}:
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _exists(pid: int) -> float | None:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return UNKNOWN


def _start_from_ps(pid: int) -> float | None:
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        answer = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=10,
        )
        state, *started = answer.stdout.split()
        if state.startswith("Z"):
            return None
        return float(calendar.timegm(time.strptime(" ".join(started), "%a %b %d %H:%M:%S %Y")))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return _exists(pid)
