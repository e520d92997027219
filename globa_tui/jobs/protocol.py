"""How a job and whoever follows it talk: a status file that the job replaces, a control file that it reads.

Both lie in `jobs/` below the run folder, so a job can be followed from any shell that sees the folder. No pipes: they
would die with the terminal. Whatever these files hold, reading them never fails and never sends a signal.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from store import files, process
from store.errors import RunDamagedError, StoreError
from store.run.layout import JOBS

Kind = Literal["analyze", "merge", "represent", "evaluate", "sweep", "compare"]
State = Literal["starting", "running", "pausing", "paused", "cancelling", "cancelled", "complete", "failed"]
Command = Literal["pause", "resume", "cancel"]
Liveness = Literal["alive", "dead", "lost", "remote"]

KINDS: tuple[Kind, ...] = get_args(Kind)
STATES: tuple[State, ...] = get_args(State)
COMMANDS: tuple[Command, ...] = get_args(Command)
ENDED: frozenset[State] = frozenset({"cancelled", "complete", "failed"})
"""States after which nothing more happens."""

LOST_SECONDS = 30.0
"""A process that exists but has not said anything for so long hangs, or was stopped."""

REMOTE_SECONDS = 60.0
"""A job on another machine that has not said anything for so long is taken for gone."""

_SIZE_LIMIT = 1 << 16

Converted = TypeVar("Converted")


@dataclass(frozen=True)
class JobStatus:
    """What a job says about itself."""

    kind: Kind
    state: State
    pid: int
    pid_started: float
    """Start time of the process, on a clock of its host; tells it from a later one with the same pid."""
    host: str
    started: float
    """Seconds since 1970."""
    heartbeat: float
    """Seconds since 1970, when this was written."""
    total: int = 0
    """Layers in all."""
    done: int = 0
    failed: int = 0
    cost_total: float = 0.0
    """Work in all, in any unit, for progress and the time left."""
    cost_done: float = 0.0
    current: str | None = None
    """Name of the tensor in work."""
    eta_seconds: float | None = None
    message: str = ""
    """One line: why it failed, or what came out."""
    output: str | None = None
    """Where the result is."""

    @classmethod
    def of_this_process(cls, kind: Kind, state: State = "starting", **values: Any) -> JobStatus:
        """Return the first status of a job that runs in this process."""
        pid, now = os.getpid(), time.time()
        started = process.start_time(pid) or process.UNKNOWN
        return cls(kind, state, pid, started, process.host_name(), now, now, **values)

    @property
    def ended(self) -> bool:
        """Whether the job is over, by its own word."""
        return self.state in ENDED

    @property
    def age(self) -> float:
        """Seconds since the last heartbeat, by this machine's clock."""
        return max(0.0, time.time() - self.heartbeat)

    def beat(self, **changes: Any) -> JobStatus:
        """Return this status with some values changed, as of now."""
        return replace(self, **{"heartbeat": time.time(), **changes})


def status_path(folder: Path, kind: Kind) -> Path:
    """Return the path of the status file of a job."""
    return folder / JOBS / f"{kind}.json"


def control_path(folder: Path, kind: Kind) -> Path:
    """Return the path of the control file of a job."""
    return folder / JOBS / f"{kind}.control"


def log_path(folder: Path, kind: Kind) -> Path:
    """Return the path of what a job printed."""
    return folder / JOBS / f"{kind}.log"


def make_jobs_folder(folder: Path) -> None:
    """Make the folder of the jobs' files; a link to another place, which a stranger's run may hold, is refused."""
    path = folder / JOBS
    if path.is_symlink():
        msg = f"{path}: a link, and a run may not point outside its folder; delete it"
        raise RunDamagedError(msg)
    files.make_folder(path)


def write_status(folder: Path, status: JobStatus) -> None:
    """Replace the status file, in one step.

    Parameters
    ----------
    folder : Path
        The run folder.
    status : JobStatus
        What to write.

    Raises
    ------
    DiskFullError, StoreError
        It could not be written; the old one is still there.
    """
    path = status_path(folder, status.kind)
    make_jobs_folder(folder)
    data = json.dumps(_finite(asdict(status)), ensure_ascii=True, allow_nan=False)
    files.write_atomic(path, data.encode(), durable=status.ended)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = {"eta_seconds": None}
    return {
        key: unknown.get(key, 0.0) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def read_status(folder: Path, kind: Kind) -> JobStatus | None:
    """Read what a job says; None when there is none, or nothing that can be read."""
    values = _read_json(status_path(folder, kind)) if not (folder / JOBS).is_symlink() else None
    if values is None:
        return None
    try:
        status = _parse(values)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return status if status.kind == kind else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(files.read_plain(path, _SIZE_LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _parse(values: Mapping[str, Any]) -> JobStatus:
    """Build a status from JSON; keys of a newer version are left out."""
    if values["kind"] not in KINDS or values["state"] not in STATES:
        msg = "unknown kind or state"
        raise ValueError(msg)
    return JobStatus(
        kind=values["kind"],
        state=values["state"],
        pid=int(values["pid"]),
        pid_started=_number(values["pid_started"]),
        host=str(values["host"]),
        started=_number(values["started"]),
        heartbeat=_number(values["heartbeat"]),
        total=int(values.get("total", 0)),
        done=int(values.get("done", 0)),
        failed=int(values.get("failed", 0)),
        cost_total=_number(values.get("cost_total", 0.0)),
        cost_done=_number(values.get("cost_done", 0.0)),
        current=_optional(values.get("current"), str),
        eta_seconds=_optional(values.get("eta_seconds"), _number),
        message=str(values.get("message", "")),
        output=_optional(values.get("output"), str),
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        msg = "not a finite number"
        raise ValueError(msg)
    return number


def _optional(value: Any, convert: Callable[[Any], Converted]) -> Converted | None:
    return None if value is None else convert(value)


def liveness(status: JobStatus, *, lost_after: float = LOST_SECONDS) -> Liveness:
    """Whether the process of a job runs.

    Parameters
    ----------
    status : JobStatus
        As read.
    lost_after : float
        Seconds without a heartbeat after which a process that exists counts as lost.

    Returns
    -------
    str
        `alive`; `dead` when there is no process of that pid and start time; `lost` when there is, but silent;
        `remote` when it runs on another machine, where only `status.age` tells anything.
    """
    if status.host != process.host_name():
        return "remote"
    if not process.is_running(status.pid, status.pid_started):
        return "dead"
    return "lost" if status.age > lost_after else "alive"


def is_working(status: JobStatus) -> bool:
    """Whether a job is to be taken for one that works: not ended, and not dead as far as this machine can tell.

    Of a job on another machine only its heartbeat tells; one that was silent for a minute is taken for gone, and the
    lock of the run has the last word.
    """
    alive = liveness(status)
    return not status.ended and (alive in ("alive", "lost") or (alive == "remote" and status.age <= REMOTE_SECONDS))


class StatusWriter:
    """Write the status of a job, at most every second unless the state changes.

    Parameters
    ----------
    folder : Path
        The run folder.
    status : JobStatus
        The first one, written at once.
    interval : float
        Seconds between two writes.
    """

    def __init__(self, folder: Path, status: JobStatus, *, interval: float = 1.0) -> None:
        self._folder = folder
        self._interval = interval
        self._written = 0.0
        self.status = status
        write_status(folder, status)
        self._written = time.monotonic()

    def update(self, **changes: Any) -> JobStatus:
        """Change values of the status, and write it when it is time to.

        A disk that is full does not stop the job here: the next layer will tell.
        """
        changed = changes.get("state", self.status.state) != self.status.state
        self.status = self.status.beat(**changes)
        now = time.monotonic()
        if changed or now - self._written >= self._interval:
            self._written = now
            with contextlib.suppress(StoreError):
                write_status(self._folder, self.status)
        return self.status


def write_control(folder: Path, kind: Kind, command: Command) -> None:
    """Ask a job for something; a later word replaces an earlier one that was not yet read."""
    if command not in COMMANDS:
        msg = f"unknown command {command!r}, expected one of {', '.join(COMMANDS)}"
        raise ValueError(msg)
    path = control_path(folder, kind)
    make_jobs_folder(folder)
    files.write_atomic(path, command.encode(), durable=False)


def read_control(folder: Path, kind: Kind) -> Command | None:
    """Read what a job was asked for; None when nothing, or nothing known."""
    return _read_command(control_path(folder, kind))


def take_control(folder: Path, kind: Kind) -> Command | None:
    """Read what a job was asked for and clear it, so that a word written meanwhile is not lost."""
    path = control_path(folder, kind)
    taken = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        files.rename(path, taken)
    except OSError:
        return None
    try:
        return _read_command(taken)
    finally:
        with contextlib.suppress(OSError):
            taken.unlink()


def clear_control(folder: Path, kind: Kind) -> None:
    """Forget what was asked; a job does so when it starts."""
    with contextlib.suppress(OSError):
        control_path(folder, kind).unlink()


def _read_command(path: Path) -> Command | None:
    try:
        word = files.read_plain(path, 32).decode(errors="replace").strip()
    except OSError:
        return None
    return next((command for command in COMMANDS if command == word), None)
