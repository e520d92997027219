"""``globa-tui show``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globa_tui.cli.options import JsonOption, ReadableRun, run_path

if TYPE_CHECKING:
    from store.run import Run

EXAMPLE = """
globa-tui show math-code
globa-tui show math-code --layer model.layers.3.mlp.up_proj.weight
globa-tui show math-code --json | jq '.layers[0].orthogonality'
globa-tui show math-code --findings
globa-tui show math-code --representation
globa-tui show math-code --by kind
globa-tui show math-code --what-if --by block --csv
"""


def show(
    run: ReadableRun,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="NAME", help="Only this layer, with all its numbers.")
    ] = None,
    findings: Annotated[
        bool,
        typer.Option("--findings", help="What stands out, in words, the weightiest first.", show_default=False),
    ] = False,
    representation: Annotated[
        bool,
        typer.Option(
            "--representation", help="Distances of hidden states that `represent` kept here.", show_default=False
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="GROUP", help="Take layers together: kind, block or model."),
    ] = None,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Patterns at other --eta, exact, added up as --by says.")
    ] = False,
    pair: Annotated[
        str | None, typer.Option("--pair", metavar="A,T", help="With those two: only task T against task A.")
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values, one row per layer.")] = False,
) -> None:
    """Print what the analysis found, layer by layer.

    Percentages are shares of the energy that pruning retains of task 2; 'orth' is the overlap of the tasks'
    output (L) and input (R) spaces, 0 orthogonal and 1 contained; 'clusters' is the share of basis directions
    that no SVD determines. A narrow terminal shows fewer columns, a pipe all of them.

    With --by, 'both' to 'none' are shares of task 2's energy by whether its outputs (L) and inputs (R) lie in task
    1's spaces; 'change' and 'sign' are conflicts of entries; SAI says how far the sum of the task vectors amplifies
    (above 0) or holds back (below 0) each of the two. docs/metrics.md has the equations.
    """
    from globa_tui.cli import layers, tables
    from globa_tui.cli.exports import csv_text, json_text
    from globa_tui.cli.findings import print_findings
    from globa_tui.cli.one_layer import layer_sheet
    from globa_tui.cli.runs import reading
    from globa_tui.diagnostics import UsageError
    from globa_tui.findings import findings_of_run
    from store.run import Run

    if as_json and as_csv:
        msg = "--json and --csv exclude each other"
        raise UsageError(msg)
    if representation:
        _representation(run_path(run), as_json=as_json)
        return
    opened = Run.open(run_path(run))
    if by or what_if or pair:
        _show_together(opened, layer, by, what_if, pair, as_json=as_json, as_csv=as_csv)
        return
    with reading(opened):
        records = opened.records()
        shown = records if layer is None else [_find(records, layer)]
        if as_json:
            sys.stdout.write(json_text(opened, shown))
        elif findings:
            print_findings(findings_of_run(opened))
        elif as_csv:
            sys.stdout.write(csv_text(opened, shown))
        elif layer is not None:
            tables.show_table(layer_sheet(shown[0], _pairs(opened)))
        else:
            tables.show_table(layers.layer_table(records, _pairs(opened)))
            _remarks(records)


def _representation(path: Path, *, as_json: bool) -> None:
    import json

    from globa_tui.cli.represent_table import print_representation
    from globa_tui.cli.runs import well_formed
    from store.errors import RunNotFoundError
    from store.run import read_result

    result = read_result(path)
    if result is None:
        msg = f"{path}: holds no hidden states; make them with `globa-tui represent ... --store {path}`"
        raise RunNotFoundError(msg)
    if as_json:
        print(json.dumps(result, allow_nan=False))
        return
    with well_formed(path, "its representation"):
        print_representation(result)


def _show_together(
    run: Run, layer: str | None, by: str | None, what_if: bool, pair: str | None, *, as_json: bool, as_csv: bool
) -> None:
    from globa_tui.cli.runs import reading
    from globa_tui.cli.show_groups import show_groups, show_what_if
    from globa_tui.diagnostics import UsageError

    if layer is not None and (by or not what_if):
        msg = "--layer is one layer; with --by and --pair give none, or --layer and --what-if"
        raise UsageError(msg)
    with reading(run):
        if what_if:
            records = run.records() if layer is None else [_find(run.records(), layer)]
            show_what_if(run, records, by, pair, as_json=as_json, as_csv=as_csv)
        else:
            show_groups(run, by, pair, as_json=as_json, as_csv=as_csv)


def _pairs(run: Run) -> list[tuple[int, int]]:
    from globa_tui.aggregate import compared_pairs

    tasks = sum(source.get("role") != "base" for source in run.manifest["sources"])
    return compared_pairs(run.manifest["settings"], tasks)


def _find(records: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    from difflib import get_close_matches

    from globa_tui.diagnostics import UsageError

    for record in records:
        if record["name"] == name:
            return record
    near = get_close_matches(name, [str(record["name"]) for record in records], n=1)
    msg = f"no layer is called {name!r}; " + (f"did you mean {near[0]!r}?" if near else "see `globa-tui show RUN`")
    raise UsageError(msg)


def _remarks(records: Sequence[Mapping[str, Any]]) -> None:
    from globa_tui.diagnostics import say

    failed = [record for record in records if record["status"] == "failed"]
    for record in failed[:10]:
        # What a run keeps of a failure begins with the name of the layer.
        reason = str(record["error"]).removeprefix(f"{record['name']}: ")
        say(f"failed: {record['name']}: {reason}")
    if len(failed) > 10:
        say(f"{len(failed) - 10} more failed; --csv lists them all")
    skipped = sum(record["status"] == "skipped" for record in records)
    if skipped:
        say(f"tensors that are no matrices, or were left out: {skipped}; --csv lists them")
