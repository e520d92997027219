"""``globa-tui evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globa_tui.cli import options as opt

if TYPE_CHECKING:
    from globa_tui.jobs.evaluation.job import Measurement
    from globa_tui.jobs.evaluation.settings import EvaluationRequest

EXAMPLE = """
globa-tui evaluate ./merged ./ft1 ./ft2 --data math.jsonl --data code=held-out.txt --store math-code
globa-tui evaluate ./merged --tasks gsm8k,mbpp --download
globa-tui evaluate ./merged --command './eval.sh {model}' --json
"""

DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="[NAME=]FILE",
        help="Text, or JSONL with prompt and answer, or prompt, choices and answer. Repeatable.",
    ),
]
WindowOption = Annotated[int, typer.Option("--window", metavar="N", help="Tokens of text that are read at a time.")]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", help="Use the first N questions, and N windows of text.  [default: all]"),
]
BatchOption = Annotated[int, typer.Option("--batch-tokens", metavar="N", help="Tokens that are computed at a time.")]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype", metavar="DTYPE", help="float32, bfloat16, float16, or auto: the model's on a GPU, else float32."
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that a model folder brings.", show_default=False),
]


def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", show_default=False, help="Model folders or Hub ids, one or more.")
    ],
    data: DataOption = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", metavar="NAME,...", help="Tasks of lm-eval (pip install globa-tui[eval]).")
    ] = None,
    tasks_from: Annotated[
        Path | None, typer.Option("--tasks-from", metavar="DIR", help="Folder of further tasks for lm-eval.")
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Option(
            "--command",
            metavar="[NAME=]COMMAND",
            help="Own program that prints JSON; {model} is the folder. Repeatable.",
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="RUN", help="Run that keeps the results; known ones are reused.")
    ] = None,
    window: WindowOption = 1024,
    limit: LimitOption = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", metavar="N", help="Most tokens of a generated answer.")
    ] = 256,
    generate: Annotated[
        bool, typer.Option("--generate/--no-generate", help="Let the model write its answers; slower.")
    ] = True,
    level: Annotated[float, typer.Option("--level", metavar="P", help="Level of the confidence intervals.")] = 0.95,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the bootstrap.")] = 0,
    dtype: DtypeOption = "auto",
    batch_tokens: BatchOption = 4096,
    device: opt.DeviceOption = "auto",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what the store knows.", show_default=False)
    ] = False,
    trust_remote_code: TrustOption = False,
    download: opt.DownloadOption = False,
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Measure models on texts, questions or tasks.

    Gives bits per byte, accuracy and exact answers, with bootstrap confidence intervals.
    """
    from globa_tui.jobs.evaluation.settings import EvaluationRequest, EvaluationSettings

    settings = EvaluationSettings(
        window=window,
        limit=limit,
        max_new_tokens=max_new_tokens,
        generate=generate,
        dtype=dtype,
        level=level,
        seed=seed,
        device=device,
        batch_tokens=batch_tokens,
    )
    request = EvaluationRequest(
        models=tuple(models),
        data=tuple(data or ()),
        tasks=tuple(task.strip() for task in (tasks or "").split(",") if task.strip()),
        tasks_from=tasks_from,
        commands=tuple(command or ()),
        store=_store(store),
        settings=settings,
        fresh=fresh,
        download=download,
        trust_remote_code=trust_remote_code,
    )
    found = _run(request, quiet=quiet)
    _print(found, as_json=as_json, as_csv=as_csv)


def _store(name: str | None) -> Path | None:
    from globa_tui.diagnostics import UsageError

    path = opt.run_path(name) if name is not None else None
    if path is not None and path.is_file():
        msg = f"{path}: a packed run does not change; name a run folder as --store"
        raise UsageError(msg)
    return path


def _run(request: EvaluationRequest, *, quiet: bool) -> list[Measurement]:
    from globa_tui.cli.progress import display
    from globa_tui.cli.signals import stopping_on_term
    from globa_tui.diagnostics import Interrupted, say
    from globa_tui.jobs.reporter import JobCancelledError

    try:
        # Loading torch takes seconds, in which ctrl-C is as likely as later.
        from globa_tui.jobs.evaluation.job import run_evaluation

        with display("evaluating", quiet=quiet, things="measurements") as shown, stopping_on_term() as watch:
            found = run_evaluation(request, shown.follow, watch)
    except (KeyboardInterrupt, JobCancelledError):
        kept = f"; what was measured is kept in {request.store}" if request.store is not None else ""
        msg = f"interrupted{kept}"
        raise Interrupted(msg) from None
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
