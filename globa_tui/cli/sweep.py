"""``globa-tui sweep``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from globa_tui.cli import measure_options as own
from globa_tui.cli import options as opt
from globa_tui.cli.measuring import absolute_data, forced, in_background, in_foreground, metrics_of, write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from globa_tui.cli.tables import Table
    from globa_tui.jobs.progress import Listener
    from globa_tui.jobs.reporter import Reporter
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


def sweep(
    run: opt.RunArgument,
    data: own.SweepDataOption,
    search: own.SearchOption = "two-stage",
    trials: own.TrialsOption = 60,
    grid: own.GridOption = None,
    part: own.PartOption = None,
    coefficient_range: own.RangeOption = "0,1.5",
    eta: own.EtaOption = False,
    skip_weights: own.SkipOption = False,
    metric: own.MetricOption = None,
    score: own.ScoreOption = "share",
    test: own.TestOption = None,
    recipe: own.RecipeOption = None,
    top: own.TopOption = 10,
    seed: own.SeedOption = 0,
    window: own.WindowOption = 1024,
    limit: own.LimitOption = None,
    max_new_tokens: own.MaxNewTokensOption = 256,
    dtype: own.DtypeOption = "auto",
    batch_tokens: own.BatchOption = 4096,
    device: opt.DeviceOption = "auto",
    engine: opt.EngineOption = "local",
    threads: opt.ThreadsOption = 0,
    ray_address: opt.RayAddressOption = None,
    base: own.BaseOption = None,
    fine_tuned: own.FineTunedOption = None,
    background: own.BackgroundOption = False,
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Search for the coefficients of a merge.

    Candidates are built in memory from RUN, measured on every task, and kept; what was measured is not measured again.
    The score is the harmonic mean over the tasks of the share of the best fine-tune's performance, or gain.
    """
    from globa_tui.jobs.sweep.settings import SweepRequest, write_request

    low, high = _range(coefficient_range)
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
        settings=forced(window, limit, dtype, batch_tokens, device, max_new_tokens),
        base=base,
        fine_tuned=tuple(fine_tuned or ()),
    )
    place = opt.engine_choice(engine, threads, ray_address)
    if background:
        write_request(request)
        in_background("sweep", ["--run", str(request.run), *place.argv()], request.run)
        return

    outcome = _swept(request, place, quiet=quiet)
    write_recipe(recipe, outcome.recipe)
    _print(outcome, top, recipe, as_json=as_json)


def _swept(request: SweepRequest, place: EngineChoice, *, quiet: bool) -> SweepOutcome:
    def work(listener: Listener, watch: Callable[[Reporter], None]) -> SweepOutcome:
        from globa_tui.jobs.sweep.job import run_sweep

        return run_sweep(request, listener, watch, place)

    kept = f"; what was measured is kept in {request.run}; the same command goes on"
    return in_foreground(work, "sweeping", "candidates", kept, quiet=quiet)


def _range(text: str) -> tuple[float, float]:
    from globa_tui.diagnostics import UsageError
    from globa_tui.values import parse_numbers

    values = parse_numbers("--range", text)
    if len(values) != 2:
        msg = f"--range {text!r} is not LOW,HIGH, such as 0,1.5"
        raise UsageError(msg)
    return values[0], values[1]


def _print(outcome: SweepOutcome, top: int, recipe: Path | None, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(document(outcome), allow_nan=False))
        return
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
