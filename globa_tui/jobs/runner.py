"""The job process: ``python -m globa_tui.jobs.runner KIND …``; `globa_tui.jobs.client` starts it."""

from __future__ import annotations

from globa_tui._claim import claim

claim()

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from globa_tui.diagnostics import ExitCode, fail, message, say
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.progress import Listener, Progress
from globa_tui.jobs.protocol import JobStatus, Kind, StatusWriter, clear_control, read_status
from globa_tui.jobs.reporter import JobCancelledError, Reporter
from globa_tui.jobs.settings import ENGINES, AnalysisRequest, AnalysisSettings, EngineChoice
from store.errors import RunBusyError
from store.run import run_folder


def main(argv: list[str] | None = None) -> int:
    """Run one job; its exit code is that of the command that would have done the same."""
    arguments = _parser().parse_args(argv)
    folder = run_folder(arguments.store if arguments.kind == "analyze" else arguments.run)
    try:
        require_alone(folder, arguments.kind)
    except RunBusyError as error:
        return fail(error)
    # torch takes seconds to import: whoever waits for this job sees it start before that.
    clear_control(folder, arguments.kind)
    StatusWriter(folder, JobStatus.of_this_process(arguments.kind))
    try:
        if arguments.kind == "analyze":
            _analyze(arguments)
        elif arguments.kind == "merge":
            _merge(arguments, folder)
        elif arguments.kind == "evaluate":
            _evaluate(arguments)
        elif arguments.kind == "compare":
            _compare(folder)
        else:
            _sweep(arguments, folder)
    except JobCancelledError:
        return ExitCode.INTERRUPTED
    except Exception as error:
        _say_failed(folder, arguments.kind, message(error))
        return fail(error, debug=True)
    return ExitCode.DONE


def _analyze(arguments: argparse.Namespace) -> None:
    from globa_tui.jobs.analyze import run_analysis

    request = AnalysisRequest(
        base=arguments.sources[0],
        fine_tuned=tuple(arguments.sources[1:]),
        store=Path(arguments.store),
        settings=AnalysisSettings.from_dict(json.loads(arguments.settings)),
        fresh=arguments.fresh,
        download=arguments.download,
        engine=_engine(arguments),
    )
    run_analysis(request, _pauses(), on_start=_stop_on_signal, warn=_log)


def _merge(arguments: argparse.Namespace, folder: Path) -> None:
    from globa_tui.jobs.merge import MergeOptions, run_merge
    from globa_tui.recipe import Recipe

    options = MergeOptions(
        overwrite=arguments.overwrite,
        device=arguments.device,
        status_folder=folder,
        allow_failed=arguments.allow_failed,
        check=not arguments.no_check,
        engine=_engine(arguments),
    )
    recipe = Recipe.read(Path(arguments.recipe))
    run_merge(recipe, Path(arguments.out), options, _pauses(), on_start=_stop_on_signal, warn=_log)


def _evaluate(arguments: argparse.Namespace) -> None:
    from globa_tui.jobs.evaluation.job import run_evaluation
    from globa_tui.jobs.evaluation.settings import EvaluationRequest

    run_evaluation(EvaluationRequest.from_json(arguments.request), on_start=_stop_on_signal)


def _compare(folder: Path) -> None:
    from globa_tui.jobs.compare.job import run_compare
    from globa_tui.jobs.compare.settings import read_request

    run_compare(read_request(folder), on_start=_stop_on_signal)


def _sweep(arguments: argparse.Namespace, folder: Path) -> None:
    from globa_tui.jobs.sweep.job import run_sweep
    from globa_tui.jobs.sweep.settings import read_request

    run_sweep(read_request(folder), on_start=_stop_on_signal, engine=_engine(arguments))


def _engine(arguments: argparse.Namespace) -> EngineChoice:
    return EngineChoice(arguments.engine, arguments.threads, arguments.ray_address)


def _stop_on_signal(reporter: Reporter) -> None:
    """SIGTERM lets the layer in work finish; SIGHUP does nothing, for the job outlives its terminal."""
    signal.signal(signal.SIGTERM, lambda number, frame: reporter.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _log(text: str) -> None:
    say(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")


def _pauses() -> Listener:
    """A listener that writes to the log that the job waits, for what, and that it goes on."""
    before = ""

    def tell(progress: Progress) -> None:
        nonlocal before
        if (progress.state == "paused") != (before == "paused"):
            _log(f"paused: {progress.message or 'as asked'}" if progress.state == "paused" else "goes on")
        before = progress.state

    return tell


def _say_failed(folder: Path, kind: Kind, message: str) -> None:
    """Leave the reason in the status, also of what fails before there is a reporter."""
    status = read_status(folder, kind) or JobStatus.of_this_process(kind)
    if status.state != "failed":
        StatusWriter(folder, status.beat(state="failed", message=message))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="globa_tui.jobs.runner", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    analyze = kinds.add_parser("analyze")
    analyze.add_argument("--store", required=True)
    analyze.add_argument("--settings", default="{}")
    analyze.add_argument("--fresh", action="store_true")
    analyze.add_argument("--download", action="store_true")
    analyze.add_argument("sources", nargs="+")
    merge = kinds.add_parser("merge")
    merge.add_argument("--recipe", required=True)
    merge.add_argument("--run", required=True, help="run whose folder holds the job's status")
    merge.add_argument("-o", "--out", required=True)
    merge.add_argument("--device", default="auto")
    merge.add_argument("--overwrite", action="store_true")
    merge.add_argument("--allow-failed", action="store_true")
    merge.add_argument("--no-check", action="store_true")
    sweep = kinds.add_parser("sweep")
    sweep.add_argument("--run", required=True, help="run whose folder holds the request and the job's status")
    compare = kinds.add_parser("compare")
    compare.add_argument("--run", required=True, help="run whose folder holds the request and the job's status")
    evaluate = kinds.add_parser("evaluate")
    evaluate.add_argument("--run", required=True, help="run whose folder holds the results and the job's status")
    evaluate.add_argument("--request", required=True, help="the request as JSON")
    for each in (analyze, merge, sweep):
        each.add_argument("--engine", choices=ENGINES, default="local")
        each.add_argument("--threads", type=int, default=0)
        each.add_argument("--ray-address", default="")
    return parser


if __name__ == "__main__":
    sys.exit(main())
