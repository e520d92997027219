"""``globa-tui compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from globa_tui.cli import measure_options as own
from globa_tui.cli import options as opt
from globa_tui.cli.measuring import absolute_data, forced, in_background, in_foreground, metrics_of, write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from globa_tui.cli.tables import Table
    from globa_tui.jobs.compare.job import CompareOutcome
    from globa_tui.jobs.compare.results import Comparison, Line
    from globa_tui.jobs.progress import Listener
    from globa_tui.jobs.reporter import Reporter

EXAMPLE = """
globa-tui compare math-code --data math=tune.jsonl --data code=tune.txt --test math=test.jsonl --test code=test.txt
globa-tui compare ./base ./ft1 ./ft2 --store math-code --data tune.jsonl --budget 2 --recipe best.yaml
"""


def compare(
    sources: own.CompareSources,
    data: own.SweepDataOption,
    store: own.CompareStoreOption = None,
    metric: own.MetricOption = None,
    score: own.ScoreOption = "share",
    test: own.TestOption = None,
    budget: own.BudgetOption = 4,
    recipe: own.RecipeOption = None,
    window: own.WindowOption = 1024,
    limit: own.LimitOption = None,
    dtype: own.DtypeOption = "auto",
    batch_tokens: own.BatchOption = 4096,
    device: opt.DeviceOption = "auto",
    background: own.BackgroundOption = False,
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Compare all merge methods on the same data.

    Each at its defaults and at its best over a small budget: what it keeps of every task, and what it costs.
    """
    from globa_tui.jobs.compare.settings import CompareRequest, write_request
    from globa_tui.jobs.sweep.settings import SweepRequest

    sweep = SweepRequest(
        run=_run_of(sources, store, device, quiet=quiet),
        data=tuple(map(absolute_data, data)),
        metrics=metrics_of(metric),
        score=score,  # type: ignore[arg-type]
        test=tuple(map(absolute_data, test or ())),
        settings=forced(window, limit, dtype, batch_tokens, device),
    )
    request = CompareRequest(sweep, budget)
    if background:
        write_request(request)
        in_background("compare", ["--run", str(sweep.run)], sweep.run)
        return

    def work(listener: Listener, watch: Callable[[Reporter], None]) -> CompareOutcome:
        from globa_tui.jobs.compare.job import run_compare

        return run_compare(request, listener, watch)

    kept = f"; what was measured is kept in {sweep.run}; the same command goes on"
    outcome = in_foreground(work, "comparing", "merges", kept, quiet=quiet)
    write_recipe(recipe, outcome.recipe)
    _print(outcome, recipe, as_json=as_json)


def _run_of(sources: list[str], store: str | None, device: str, *, quiet: bool) -> Path:
    """The run to compare on; checkpoints are analysed first, at the defaults."""
    from globa_tui.diagnostics import UsageError

    if len(sources) == 1:
        return opt.run_path(sources[0]).absolute()
    base, fine_tuned = opt.split_sources(sources)
    if store is None:
        msg = "--store RUN is needed with BASE FT1 FT2: the analysis that globa merges from is kept there"
        raise UsageError(msg)
    from globa_tui.cli.analyze import run_request
    from globa_tui.cli.progress import display
    from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings

    run = opt.run_path(store).absolute()
    with display("analysing", quiet=quiet) as shown:
        run_request(AnalysisRequest(base, fine_tuned, run, AnalysisSettings(device=device)), shown)
    return run


def _print(outcome: CompareOutcome, recipe: Path | None, *, as_json: bool) -> None:
    if as_json:
        import json

        from globa_tui.cli.layers import finite

        print(json.dumps(finite(document(outcome)), allow_nan=False))
        return
    from globa_tui.cli.tables import show_table
    from globa_tui.diagnostics import printable, say

    show_table(table(outcome.tuning, outcome.test))
    if outcome.test is None:
        say("best settings were chosen by this very data, so expect a little less elsewhere; --test measures that")
    say(f"best on the data: {outcome.winner.method}, {outcome.winner.setting}")
    if recipe is not None:
        print(printable(recipe))
    else:
        print(printable(outcome.recipe.equivalent_command()))


def table(found: Comparison, test: Comparison | None = None) -> Table:
    """Defaults and best of every method, the best first; with test data, the score there too."""
    from globa_tui.cli.tables import Table
    from globa_tui.values import about_size

    best = found.best()
    lines: list[Line] = [*found.defaults(), *best.values()]
    shown = list({(line.method, line.setting): line for line in lines}.values())
    shown.sort(key=lambda line: -found.score(line))
    tested = {(line.method, line.setting): test.score(line) for line in test.lines} if test is not None else {}
    columns = ("method", "setting", "score", *(["test"] if test else []), *(f"loss {task}" for task in found.tasks))
    rows = [
        [
            line.method,
            line.setting,
            f"{found.score(line):.3f}",
            *([f"{tested[line.method, line.setting]:.3f}"] if test else []),
            *(f"{100 * (share - 1):+.1f} %" for share in found.shares(line).values()),
            f"{line.seconds:.2f} s",
            "" if line.memory is None else about_size(line.memory),
            f"{line.drift:.3f}",
            line.farthest,
        ]
        for line in shown
    ]
    columns = (*columns, "time", "memory", "drift", "farthest")
    gives_way = ("farthest", "memory", "time", "drift")
    return Table(columns, rows, words=frozenset({"method", "setting", "farthest"}), gives_way=gives_way)


def document(outcome: CompareOutcome) -> dict[str, Any]:
    """The document of ``compare --json``."""
    from dataclasses import asdict

    def listed(found: Comparison | None) -> dict[str, Any] | None:
        if found is None:
            return None
        lines = [{**asdict(line), "score": found.score(line), "shares": found.shares(line)} for line in found.lines]
        return {
            "tasks": dict(found.tasks),
            "references": {task: asdict(one) for task, one in found.references.items()},
            "merges": lines,
        }

    winner = {"method": outcome.winner.method, "setting": outcome.winner.setting, "recipe": outcome.recipe.to_dict()}
    return {"schema": 1, "winner": winner, "tuning": listed(outcome.tuning), "test": listed(outcome.test)}
