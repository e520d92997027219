"""``globa-tui check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globa_tui.cli import options as opt

if TYPE_CHECKING:
    from globa_tui.jobs.check import CheckReport

EXAMPLE = """
globa-tui check merged
globa-tui check merged --against ./base ./ft1 ./ft2 --json
globa-tui check merged --alignment
"""


def check(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A merged model.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FT1 FT2]", show_default=False, help="After --against BASE: the fine-tunes."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="BASE",
            help="Base it was made of, with its fine-tunes after it.  [default: its recipe's]",
        ),
    ] = None,
    alignment: Annotated[
        bool,
        typer.Option(
            "--alignment", help="Only: how far it amplifies or holds back each fine-tune (SAI).", show_default=False
        ),
    ] = False,
    as_json: opt.JsonOption = False,
) -> int:
    """Look for faults in a merged model.

    With --alignment, of any method or program: per matrix, in its up to 32 strongest directions, the signed alignment
    index of each fine-tune; 0 undisturbed, above 0 amplified, below 0 held back.
    """
    import json

    from globa_tui.cli.layers import finite
    from globa_tui.diagnostics import ExitCode, UsageError
    from globa_tui.jobs.check import check_output

    if sources and against is None:
        msg = "fine-tunes are given without --against BASE; name the base as well"
        raise UsageError(msg)
    if not out.exists():
        msg = f"{out}: no such folder; name a merged model"
        raise UsageError(msg)
    named = (against, *(sources or ())) if against is not None else ()
    if alignment:
        _alignment(out, named, as_json=as_json)
        return ExitCode.DONE
    report = check_output(out, named)
    if as_json:
        print(json.dumps({"schema": 1, **finite(report.to_dict())}, allow_nan=False))
    else:
        print_report(report)
    return ExitCode.FAILED if report.failed else ExitCode.DONE


def _alignment(out: Path, against: tuple[str, ...], *, as_json: bool) -> None:
    import json

    from globa_tui.cli.layers import finite
    from globa_tui.cli.tables import Table, show_table
    from globa_tui.jobs.output_alignment import output_alignment

    found = output_alignment(out, against)
    if as_json:
        print(json.dumps({"schema": 1, "output": str(out), "alignment": finite(found)}, allow_nan=False))
        return

    def texts(values: list[float | None] | None) -> list[str]:
        return ["/".join("-" if value is None else f"{value:+.2f}" for value in values or []) or "-"]

    rows = [
        [layer["name"], str(layer["directions"]), f"{100 * layer['share']:.1f}", *texts(layer.get("sai")),
         *texts(layer.get("sai_first"))]
        for layer in found["layers"]
    ]  # fmt: skip
    means = found["model"] or {}
    total = [f"{len(rows)} matrices, energy-weighted", "", "", *texts(means.get("sai")), *texts(means.get("sai_first"))]
    columns = ["layer", "directions", "energy %", "SAI", "SAI 1st"]
    show_table(Table(columns, rows, total, frozenset({"layer"}), wraps=frozenset({"layer"})))


def print_report(report: CheckReport) -> None:
    """One line for everything that was looked at, and the tensors that moved farthest."""
    from globa_tui.diagnostics import printable

    for item in report.items:
        print(f"{item.state:<8} {item.name:<13} {printable(item.message)}")
    largest = report.largest()
    if largest:
        print("\nfarthest from the base, as a share of its norm (the sources in brackets):")
    for name, drift in largest:
        inputs = ", ".join(f"{value:.4f}" for value in drift.relative_inputs)
        print(f"  {drift.relative:8.4f}  ({inputs})  {printable(name)}")
