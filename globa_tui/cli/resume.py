"""``globa-tui resume``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from globa_tui.cli.options import DownloadOption, RunArgument, run_path

if TYPE_CHECKING:
    from globa_tui.jobs.settings import AnalysisRequest
    from store.run import Run

EXAMPLE = "globa-tui resume math-code"


def resume(run: RunArgument, download: DownloadOption = False) -> None:
    """Go on with RUN in the background. A paused job wakes; one that ended starts again where it stopped."""
    from globa_tui.cli.control import ask, running
    from globa_tui.diagnostics import say
    from globa_tui.jobs import client
    from store.run import Run

    path = run_path(run)
    if running(path):
        ask(run, "resume", "goes on")
        return
    if _sweep_again(path):
        return
    opened = Run.open(path)
    states = [record["status"] for record in opened.records()]
    left = states.count("pending") + states.count("failed")
    if not left:
        say(f"{path}: all {len(states) - states.count('skipped')} layers are done, there is nothing to resume")
        return
    process = client.start("analyze", request_of(opened, download=download).argv(), path)
    status = client.wait_started(process, path, "analyze")
    say(f"{path}: analysis of {left} layers started (process {status.pid}); see `globa-tui status {run}`")


def _sweep_again(path: Path) -> bool:
    """Start the last sweep again when it ended before its end."""
    from globa_tui.diagnostics import say
    from globa_tui.jobs import client
    from globa_tui.jobs.protocol import read_status
    from globa_tui.jobs.sweep.settings import read_request

    last = read_status(path, "sweep")
    if last is None or last.state == "complete":
        return False
    read_request(path)
    status = client.wait_started(client.start("sweep", ["--run", str(path)], path), path, "sweep")
    say(f"{path}: the sweep goes on (process {status.pid}); see `globa-tui status {path}`")
    return True


def request_of(run: Run, *, download: bool = False) -> AnalysisRequest:
    """The request that continues a run: its own sources, where they were, and its own settings."""
    from globa_tui.diagnostics import UsageError
    from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
    from globa_tui.jobs.sources import sources_of

    if run.packed:
        msg = f"{run.path}: a packed run cannot be resumed; resume the folder it was packed from"
        raise UsageError(msg)
    base, fine_tuned = sources_of(run.manifest)
    settings = AnalysisSettings.from_dict(run.manifest["settings"])
    return AnalysisRequest(base, fine_tuned, run.path, settings, download=download)
