"""``globa-tui suggest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from globa_tui.cli import options as opt

EXAMPLE = """
globa-tui suggest math-code
globa-tui suggest math-code --recipe start.yaml
"""


def suggest(
    run: opt.ReadableRun,
    recipe: Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="Write the recipe here.")] = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Suggest a recipe for RUN, with reasons.

    After a sweep its best candidate, or the best merge that was evaluated with --store; without measurements a start
    from the weights alone, which data have to confirm.
    """
    import json
    from dataclasses import asdict

    from globa_tui.cli.layers import finite
    from globa_tui.cli.runs import reading
    from globa_tui.diagnostics import UsageError, printable, say
    from globa_tui.evaluated import read_evaluated
    from globa_tui.evidence import evidence
    from globa_tui.jobs.sweep.results import find_journals, read_results
    from globa_tui.suggest import suggest as read
    from store.files import write_atomic
    from store.run import Run

    opened = Run.open(opt.run_path(run))
    found = (read_results(path) for path in find_journals(opened.path))
    sweep = next((results for results in found if results is not None and results.purpose == "tune"), None)
    with reading(opened):
        records = opened.records()
        if not any(record["status"] == "done" for record in records):
            msg = f"{opened.path}: no layer is analysed yet; `globa-tui resume {run}` first"
            raise UsageError(msg)
        suggestion = read(run, records, opened.manifest["settings"], sweep, read_evaluated(opened))
    known = evidence(suggestion.basis)
    if recipe is not None:
        write_atomic(recipe, suggestion.recipe.to_yaml().encode())
    if as_json:
        more = {"recipe": suggestion.recipe.to_dict(), "measured": suggestion.measured, "evidence": known}
        plain = {**asdict(suggestion), **more}
        print(json.dumps({"schema": 1, **finite(plain)}, allow_nan=False))
        return
    for reason in (*suggestion.reasons, *([known] if known else [])):
        print(f"- {printable(reason)}")
    print(printable(suggestion.recipe.equivalent_command()))
    if not suggestion.measured:
        say("weights alone do not decide this; measure: globa-tui sweep RUN --data FILE, then ask again")
