"""``globa-tui resume``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from globa_tui.cli import options as opt

if TYPE_CHECKING:
    from collections.abc import Callable

    from globa_tui.jobs.protocol import Kind
    from globa_tui.jobs.settings import AnalysisRequest, EngineChoice
    from store.run import Run

EXAMPLE = """
globa-tui resume math-code
globa-tui resume big --engine ray --ray-address auto
"""


def resume(
    run: opt.RunArgument,
    threads: opt.ThreadsOption = 0,
    engine: opt.EngineOption = "local",
    ray_address: opt.RayAddressOption = None,
    download: opt.DownloadOption = False,
) -> None:
    """Go on with RUN in the background. A paused job wakes; one that ended starts again where it stopped.

    Where and with how many threads is said anew; an analysis or a sweep that starts again takes it from here.
    """
    from globa_tui.cli.control import ask, running
    from globa_tui.diagnostics import say
    from globa_tui.jobs import client
    from store.run import Run

    path, place = opt.run_path(run), opt.engine_choice(engine, threads, ray_address)
    if running(path):
        ask(run, "resume", "goes on")
        return
    if _measuring_again(path, place):
        return
    opened = Run.open(path)
    states = [record["status"] for record in opened.records()]
    left = states.count("pending") + states.count("failed")
    if not left:
        say(f"{path}: all {len(states) - states.count('skipped')} layers are done, there is nothing to resume")
        return
    process = client.start("analyze", request_of(opened, place, download=download).argv(), path)
    status = client.wait_started(process, path, "analyze")
    say(f"{path}: analysis of {left} layers started (process {status.pid}); see `globa-tui status {run}`")


def _measuring_again(path: Path, place: EngineChoice) -> bool:
    """Start the last sweep or comparison again when it ended before its end."""
    from globa_tui.cli.measuring import in_background
    from globa_tui.jobs.compare.settings import read_request as comparison
    from globa_tui.jobs.protocol import read_status
    from globa_tui.jobs.sweep.settings import read_request as sweep

    kinds: tuple[tuple[Kind, Callable[[Path], object]], ...] = (("sweep", sweep), ("compare", comparison))
    for kind, read in kinds:
        last = read_status(path, kind)
        if last is not None and last.state != "complete":
            read(path)
            where = place.argv() if kind == "sweep" else []
            in_background(kind, ["--run", str(path), *where], path)
            return True
    return False


def request_of(run: Run, engine: EngineChoice, *, download: bool = False) -> AnalysisRequest:
    """The request that continues a run: its own sources, where they were, and its own settings."""
    from globa_tui.diagnostics import UsageError
    from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
    from globa_tui.jobs.sources import sources_of

    if run.packed:
        msg = f"{run.path}: a packed run cannot be resumed; resume the folder it was packed from"
        raise UsageError(msg)
    base, fine_tuned = sources_of(run.manifest)
    settings = AnalysisSettings.from_dict(run.manifest["settings"])
    return AnalysisRequest(base, fine_tuned, run.path, settings, download=download, engine=engine)
