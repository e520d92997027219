"""Asking the jobs of a run for something."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from globa_tui.cli.options import run_path

if TYPE_CHECKING:
    from globa_tui.jobs.protocol import Command, Kind


def ask(run: str, command: Command, consequence: str) -> None:
    """Ask every job that runs on a run for the same thing, and say what will happen.

    Raises
    ------
    JobNotRunningError
        When nothing runs there.
    """
    from globa_tui.diagnostics import say
    from globa_tui.jobs import client
    from globa_tui.jobs.protocol import liveness

    path = run_path(run)
    kinds: list[Kind] = running(path) or ["analyze"]
    for kind in kinds:
        status = client.request(path, kind, command)
        where = f"process {status.pid} on {status.host}"
        silent = f"was silent for {status.age:.0f} s; if it still works, it " if liveness(status) == "lost" else ""
        say(f"{path}: {kind} ({where}) {silent}{consequence}; see `globa-tui status {run}`")


def running(path: Path) -> list[Kind]:
    """The kinds of the jobs that run on a run."""
    from globa_tui.cli.runs import jobs_of
    from globa_tui.jobs.protocol import is_working

    return [status.kind for status, _ in jobs_of(path) if is_working(status)]
