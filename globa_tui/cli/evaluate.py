"""``globa-tui evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from globa_tui.cli import measure_options as own
from globa_tui.cli import options as opt
from globa_tui.cli.measuring import in_background, in_foreground

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from globa_tui.jobs.evaluation.job import Measurement
    from globa_tui.jobs.evaluation.settings import EvaluationRequest
    from globa_tui.jobs.progress import Listener
    from globa_tui.jobs.reporter import Reporter

EXAMPLE = """
globa-tui evaluate ./merged ./ft1 ./ft2 --data math.jsonl --data code=held-out.txt --store math-code
globa-tui evaluate ./merged --tasks gsm8k,mbpp --download
globa-tui evaluate ./merged --command './eval.sh {model}' --json
"""


def evaluate(
    models: own.ModelsArgument,
    data: own.DataOption = None,
    tasks: own.TasksOption = None,
    tasks_from: own.TasksFromOption = None,
    command: own.CommandOption = None,
    store: own.StoreOption = None,
    window: own.WindowOption = 1024,
    limit: own.LimitOption = None,
    max_new_tokens: own.MaxNewTokensOption = 256,
    generate: own.GenerateOption = True,
    level: own.LevelOption = 0.95,
    seed: own.BootstrapSeedOption = 0,
    dtype: own.DtypeOption = "auto",
    batch_tokens: own.BatchOption = 4096,
    device: opt.DeviceOption = "auto",
    fresh: own.FreshOption = False,
    trust_remote_code: own.TrustOption = False,
    download: opt.DownloadOption = False,
    background: own.BackgroundOption = False,
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
    as_csv: own.CsvOption = False,
) -> None:
    """Measure models on texts, questions or tasks.

    Gives bits per byte, accuracy and exact answers, with bootstrap confidence intervals.
    """
    from globa_tui.jobs.evaluation.settings import EvaluationRequest, EvaluationSettings

    request = EvaluationRequest(
        models=tuple(models),
        data=tuple(data or ()),
        tasks=tuple(task.strip() for task in (tasks or "").split(",") if task.strip()),
        tasks_from=tasks_from,
        commands=tuple(command or ()),
        store=_store(store, needed=background),
        settings=EvaluationSettings(
            window=window,
            limit=limit,
            max_new_tokens=max_new_tokens,
            generate=generate,
            dtype=dtype,
            level=level,
            seed=seed,
            device=device,
            batch_tokens=batch_tokens,
        ),
        fresh=fresh,
        download=download,
        trust_remote_code=trust_remote_code,
    )
    if background and request.store is not None:
        in_background("evaluate", ["--run", str(request.store), "--request", request.to_json()], request.store)
        return
    _print(_run(request, quiet=quiet), as_json=as_json, as_csv=as_csv)


def _store(name: str | None, *, needed: bool) -> Path | None:
    from globa_tui.diagnostics import UsageError

    path = opt.run_path(name) if name is not None else None
    if path is None and needed:
        msg = "--background needs --store RUN: the results of a job are kept there"
        raise UsageError(msg)
    if path is not None and path.is_file():
        msg = f"{path}: a packed run does not change; name a run folder as --store"
        raise UsageError(msg)
    return path


def _run(request: EvaluationRequest, *, quiet: bool) -> list[Measurement]:
    from globa_tui.diagnostics import say

    def work(listener: Listener, watch: Callable[[Reporter], None]) -> list[Measurement]:
        from globa_tui.jobs.evaluation.job import run_evaluation

        return run_evaluation(request, listener, watch)

    kept = f"; what was measured is kept in {request.store}" if request.store is not None else ""
    found = in_foreground(work, "evaluating", "measurements", kept, quiet=quiet)
    known = sum(measurement.known for measurement in found)
    if known and not quiet:
        say(f"{known} of {len(found)} measurements were known already; --fresh measures them again")
    return found


def _print(found: list[Measurement], *, as_json: bool, as_csv: bool) -> None:
    import json

    from globa_tui.cli.layers import finite
    from globa_tui.cli.tables import Table, csv_text, show_table

    if as_json:
        listed = [{**measurement.record, "known": measurement.known} for measurement in found]
        print(json.dumps({"schema": 1, "evaluations": [finite(record) for record in listed]}, allow_nan=False))
        return
    lines = [(m.task, metric, m.model) for m in found for metric in m.metrics.values()]
    # A task's models stand together, so that they can be compared.
    order = list(dict.fromkeys((task, metric.name) for task, metric, _ in lines))
    lines.sort(key=lambda line: order.index((line[0], line[1].name)))
    if as_csv:
        columns = ("task", "metric", "model", "value", "low", "high", "items")
        rows = [(task, m.name, model, m.value, m.low, m.high, m.items) for task, m, model in lines]
        print(csv_text(columns, rows), end="")
        return
    cells = [
        [task, m.name, model, _number(m.value), _interval(m.low, m.high), "" if m.items is None else str(m.items)]
        for task, m, model in lines
    ]
    words = frozenset({"task", "metric", "model"})
    show_table(
        Table(("task", "metric", "model", "value", "interval", "items"), cells, words=words, wraps=frozenset({"model"}))
    )


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
