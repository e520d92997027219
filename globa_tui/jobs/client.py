"""Start a job that outlives this terminal, ask it for something, wait for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from globa_tui.jobs.protocol import (
    Command,
    JobStatus,
    Kind,
    is_working,
    liveness,
    log_path,
    make_jobs_folder,
    read_status,
    write_control,
)
from store import files
from store.errors import RunBusyError, RunError, StoreError

RUNNER = "globa_tui.jobs.runner"

_LOG_TAIL_BYTES = 1 << 16
_LOG_MOST_BYTES = 1 << 20
"""A log that is larger when a job starts becomes ``.log.1``, and the one of that name goes."""


class JobNotRunningError(RunError):
    """There is no job to ask: start one."""


class JobStartError(StoreError):
    """A job ended, or said nothing, before it began: its log says why."""


def start(kind: Kind, argv: Sequence[str], run_folder: Path, *, module: str = RUNNER) -> subprocess.Popen[bytes]:
    """Start a job in a session of its own, so that closing the terminal does not end it.

    Parameters
    ----------
    kind : str
        `analyze` or `merge`.
    argv : sequence of str
        Arguments of the runner after the kind; paths relative to the current folder are fine.
    run_folder : Path
        Where status, control and log go, in `jobs/`.
    module : str
        The runner.

    Returns
    -------
    subprocess.Popen
        Poll it now and then, so that it leaves no remains when it ends.

    Notes
    -----
    ``-P`` keeps Python from importing out of the working folder, which may be a stranger's checkpoint.

    A system that ends all processes of a user at logout (`KillUserProcesses` of logind, the end of a Slurm allocation)
    ends this one too; the run then resumes where it was.
    """
    log = log_path(run_folder, kind)
    make_jobs_folder(run_folder)
    with files.disk_errors(log), contextlib.suppress(FileNotFoundError):
        if log.lstat().st_size > _LOG_MOST_BYTES:
            files.rename(log, log.with_name(f"{log.name}.1"))
    append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with files.disk_errors(log), os.fdopen(files.open_plain(log, append), "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, kind, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=True,
        )


def wait_started(
    process: subprocess.Popen[bytes], run_folder: Path, kind: Kind, *, timeout: float = 60.0, poll: float = 0.05
) -> JobStatus:
    """Wait for the first status of a job that was just started.

    Raises
    ------
    JobStartError
        It ended without one, or wrote none in time; the message holds the last line of its log.
    """
    deadline = time.monotonic() + timeout
    while True:
        ended = process.poll() is not None
        status = read_status(run_folder, kind)
        if status is not None and status.pid == process.pid:
            return status
        if ended or time.monotonic() > deadline:
            what = f"ended with code {process.returncode}" if ended else f"said nothing for {timeout:g} s"
            last = (log_tail(run_folder, kind, 1) or ["nothing in its log"])[-1]
            msg = f"{log_path(run_folder, kind)}: the {kind} job {what}: {last}"
            raise JobStartError(msg)
        time.sleep(poll)


def request(run_folder: Path, kind: Kind, command: Command) -> JobStatus:
    """Ask a running job to pause, resume or cancel; it answers between two layers.

    Returns
    -------
    JobStatus
        As it was when asked.

    Raises
    ------
    JobNotRunningError
        There is no such job, or it has ended.
    """
    status = read_status(run_folder, kind)
    if status is None:
        msg = f"{run_folder}: no {kind} job was started here"
        raise JobNotRunningError(msg)
    if not is_working(status):
        how = status.state if status.ended else f"gone (process {status.pid} on {status.host})"
        msg = f"{run_folder}: the {kind} job is {how}, there is nothing to {command}"
        raise JobNotRunningError(msg)
    write_control(run_folder, kind, command)
    return status


_SHARING: tuple[Kind, ...] = ("sweep", "compare")


def require_alone(run_folder: Path, kind: Kind) -> None:
    """Refuse to take the place of another process's job of this kind: its status is not ours to overwrite.

    A sweep and a comparison write the same journals, so that one refuses beside the other too.

    Raises
    ------
    RunBusyError
        Naming the process.
    """
    for one in _SHARING if kind in _SHARING else (kind,):
        other = read_status(run_folder, one)
        if other is not None and other.pid != os.getpid() and is_working(other):
            msg = (
                f"{run_folder}: the {one} job of process {other.pid} on {other.host} is still {other.state}; "
                "wait for it, or `globa-tui cancel` it"
            )
            raise RunBusyError(msg)


def wait_ended(run_folder: Path, kind: Kind, *, timeout: float | None = None, poll: float = 0.5) -> JobStatus | None:
    """Wait until a job has ended or its process is gone.

    Returns
    -------
    JobStatus or None
        The last one; not `ended` when the process died, or the time ran out. None when there was no job.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        status = read_status(run_folder, kind)
        if status is None or status.ended or liveness(status) == "dead":
            # It may have written its last word between the two looks.
            return read_status(run_folder, kind)
        if deadline is not None and time.monotonic() > deadline:
            return status
        time.sleep(poll)


def log_tail(run_folder: Path, kind: Kind, lines: int = 20) -> list[str]:
    """Return the last lines a job printed, without blank ones; as they are, so escape them before showing."""
    path = log_path(run_folder, kind)
    try:
        with os.fdopen(files.open_plain(path), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]
