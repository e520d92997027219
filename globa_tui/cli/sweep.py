"""``globa-tui sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globa_tui.cli import options as opt
from globa_tui.cli.evaluate import BatchOption, DtypeOption, LimitOption, WindowOption

if TYPE_CHECKING:
    from globa_tui.cli.tables import Table
    from globa_tui.jobs.settings import EngineChoice
    from globa_tui.jobs.sweep.job import SweepOutcome
    from globa_tui.jobs.sweep.results import SweepResults, Trial
    from globa_tui.jobs.sweep.settings import SweepRequest

EXAMPLE = """
globa-tui sweep math-code --data math=tune.jsonl --data code=tune.txt --recipe best.yaml
globa-tui sweep math-code --data tune.jsonl --data tune.txt --search tpe --trials 100 --part mlp --eta
globa-tui sweep math-code --data tune.jsonl --search grid --grid 'D-=0,0.8,1.2' --grid 'mlp:A=0,1'
globa-tui sweep math-code --data tune.jsonl --engine ray --ray-address auto
"""

SweepDataOption = Annotated[
    list[str],
    typer.Option("--data", metavar="[NAME=]FILE", help="A task: text or JSONL, as `evaluate` takes it. Repeatable."),
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="TASK=METRIC", help="Judge a task by another metric of its data. Repeatable."),
]
ScoreOption = Annotated[
    str,
    typer.Option(
        "--score",
        metavar="NAME",
        help="share (of the best fine-tune's performance) or gain (of its gain over the base).",
    ),
]
TestOption = Annotated[
    list[str] | None,
    typer.Option("--test", metavar="[NAME=]FILE", help="Measure the winner on data the search never saw. Repeatable."),
]


def sweep(
    run: opt.RunArgument,
    data: SweepDataOption,
    search: Annotated[
        str, typer.Option("--search", metavar="NAME", help="two-stage (the paper's), grid or tpe.")
    ] = "two-stage",
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="Candidates that tpe tries in all.")] = 60,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="AXIS", help="'D-=0,1.2', 'mlp:A=0,1', 'eta=0.7,0.9' or 'skip=0.5,1'."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="TARGET", help="tpe: own coefficients for mlp, q_proj, 'blocks 0-7' ..."),
    ] = None,
    coefficient_range: Annotated[
        str, typer.Option("--range", metavar="LOW,HIGH", help="tpe: range of the coefficients.")
    ] = "0,1.5",
    eta: Annotated[
        bool, typer.Option("--eta", help="tpe: search each eta too, from 0.5 up to the run's.", show_default=False)
    ] = False,
    skip_weights: Annotated[
        bool,
        typer.Option("--skip-weights", help="tpe: search the weights of what was not analysed.", show_default=False),
    ] = False,
    metric: MetricOption = None,
    score: ScoreOption = "share",
    test: TestOption = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="Write the winner's recipe here too.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Candidates to print, the best first.")] = 10,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of tpe.")] = 0,
    window: WindowOption = 1024,
    limit: LimitOption = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", metavar="N", help="Most tokens of a generated answer.")
    ] = 256,
    dtype: DtypeOption = "auto",
    batch_tokens: BatchOption = 4096,
    device: opt.DeviceOption = "auto",
    engine: opt.EngineOption = "local",
    threads: opt.ThreadsOption = 0,
    ray_address: opt.RayAddressOption = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="BASE", help="Where the base of RUN is now, if it has moved.")
    ] = None,
    fine_tuned: Annotated[
        list[str] | None,
        typer.Option("--fine-tuned", metavar="FT", help="Where a fine-tune of RUN is now; all of them, in order."),
    ] = None,
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Search for the coefficients of a merge.

    Candidates are built in memory from RUN, measured on every task, and kept; what was measured is not measured again.
    The score is the harmonic mean over the tasks of the share of the best fine-tune's performance, or gain.
    """
    from globa_tui.jobs.evaluation.settings import EvaluationSettings
    from globa_tui.jobs.sweep.settings import SweepRequest

    low, high = _range(coefficient_range)
    settings = EvaluationSettings(
        window=window,
        limit=limit,
        max_new_tokens=max_new_tokens,
        generate=False,
        dtype=dtype,
        device=device,
        batch_tokens=batch_tokens,
    )
    request = SweepRequest(
        run=opt.run_path(run).absolute(),
        data=tuple(map(absolute_data, data)),
        search=search,  # type: ignore[arg-type]
        trials=trials,
        grid=tuple(grid or ()),
        parts=tuple(part or ()),
        low=low,
        high=high,
        sweep_eta=eta,
        sweep_skip=skip_weights,
        metrics=metrics_of(metric),
        score=score,  # type: ignore[arg-type]
        test=tuple(map(absolute_data, test or ())),
        seed=seed,
        settings=settings,
        base=base,
        fine_tuned=tuple(fine_tuned or ()),
    )
    outcome = _run(request, opt.engine_choice(engine, threads, ray_address), quiet=quiet)
    if recipe is not None:
        from store.files import write_atomic

        write_atomic(recipe, outcome.recipe.to_yaml().encode())
    if as_json:
        import json

        print(json.dumps(document(outcome), allow_nan=False))
    else:
        _print(outcome, top, recipe)


def _range(text: str) -> tuple[float, float]:
    from globa_tui.diagnostics import UsageError
    from globa_tui.values import parse_numbers

    values = parse_numbers("--range", text)
    if len(values) != 2:
        msg = f"--range {text!r} is not LOW,HIGH, such as 0,1.5"
        raise UsageError(msg)
    return values[0], values[1]


def metrics_of(words: list[str] | None) -> dict[str, str]:
    """Metric by task from ``TASK=METRIC``."""
    from globa_tui.diagnostics import UsageError

    found = {}
    for word in words or ():
        task, sign, metric = word.partition("=")
        if not (task and sign and metric):
            msg = f"--metric {word!r} is not TASK=METRIC, such as math=answer_bits_per_byte"
            raise UsageError(msg)
        found[task] = metric
    return found


def absolute_data(word: str) -> str:
    """The same file under a name that means the same from any folder, for a sweep is resumed from anywhere."""
    from globa_tui.jobs.evaluation.data import split_name

    name, path = split_name(word)
    return f"{name}={path.absolute()}"


def _run(request: SweepRequest, engine: EngineChoice, *, quiet: bool) -> SweepOutcome:
    from globa_tui.cli.progress import display
    from globa_tui.cli.signals import stopping_on_term
    from globa_tui.diagnostics import Interrupted
    from globa_tui.jobs.reporter import JobCancelledError

    try:
        # Loading torch takes seconds, in which ctrl-C is as likely as later.
        from globa_tui.jobs.sweep.job import run_sweep

        with display("sweeping", quiet=quiet, things="candidates") as shown, stopping_on_term() as watch:
            return run_sweep(request, shown.follow, watch, engine)
    except (KeyboardInterrupt, JobCancelledError):
        msg = f"interrupted; what was measured is kept in {request.run}; the same command goes on"
        raise Interrupted(msg) from None


def _print(outcome: SweepOutcome, top: int, recipe: Path | None) -> None:
    from globa_tui.cli.tables import show_table
    from globa_tui.diagnostics import printable, say
    from globa_tui.jobs.sweep.results import by_score

    results = outcome.results
    show_table(table(results, by_score(results.trials)[:top]))
    say(f"{len(results.trials)} candidates; * none is better in one task without being worse in another")
    if outcome.test is not None:
        won = next(t for t in outcome.test.trials if t.candidate.key() == outcome.best.candidate.key())
        shares = ", ".join(f"{task} {share:.3f}" for task, share in won.shares.items())
        say(f"the winner on the test data: {won.score:.3f} ({shares})")
    else:
        say("the winner was chosen by this very data, so expect a little less elsewhere; --test measures that")
    from globa_tui.jobs.sweep.job import BEST
    from store.run.journal import SWEEPS

    print(printable(recipe if recipe is not None else results.path.parent.parent / SWEEPS / BEST))


def table(results: SweepResults, trials: list[Trial]) -> Table:
    """Trials with score, shares and what was tried."""
    from globa_tui.cli.tables import Table

    front = results.front
    columns = ("", "no", "score", *results.tasks, "candidate")
    rows = [
        [
            "*" if trial.number in front else "",
            str(trial.number),
            f"{trial.score:.3f}",
            *(f"{trial.shares[task]:.3f}" for task in results.tasks),
            str(trial.candidate),
        ]
        for trial in trials
    ]
    return Table(columns, rows, words=frozenset({"", "candidate"}), wraps=frozenset({"candidate"}))


def document(outcome: SweepOutcome) -> dict[str, Any]:
    """The document of ``sweep --json``."""
    from globa_tui.cli.layers import finite

    def listed(results: SweepResults) -> dict[str, Any]:
        front = results.front
        return {
            "tasks": dict(results.tasks),
            "references": {name: finite(values) for name, values in results.references.items()},
            "trials": [
                {
                    "number": trial.number,
                    "score": trial.score,
                    "shares": dict(trial.shares),
                    "values": finite(trial.values),
                    "pareto": trial.number in front,
                    "search": trial.search,
                    "why": trial.why,
                    "seconds": trial.seconds,
                    **trial.candidate.to_dict(),
                }
                for trial in results.trials
            ],
        }

    return {
        "schema": 1,
        "best": outcome.best.number,
        "recipe": outcome.recipe.to_dict(),
        **listed(outcome.results),
        "test": listed(outcome.test) if outcome.test is not None else None,
    }
