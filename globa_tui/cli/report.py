"""``globa-tui report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globa_tui.cli.options import JsonOption, QuietOption, ReadableRun, run_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.run import Run

EXAMPLE = """
globa-tui report math-code -o report.html --recipe recipe.yaml
globa-tui report math-code -o report.md
globa-tui report math-code --plots figures
"""

FORMATS = ("html", "md", "csv", "json")


def report(
    run: ReadableRun,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write; without it, stdout.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="html, md, csv or json.  [default: by the end of FILE, or html]"),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="Show this recipe in the report.")
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", metavar="FOLDER", help="Write PNG pictures for a paper (needs matplotlib)."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.", show_default=False)] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the findings as an HTML page, Markdown, CSV or JSON.

    The HTML file needs nothing else: it opens offline, loads nothing, sorts, prints and follows a dark desktop.
    """
    from globa_tui.cli.runs import reading
    from globa_tui.diagnostics import UsageError, printable, say
    from store.run import Run

    kind = "json" if as_json else form or (out.suffix[1:].lower() if out is not None and out.suffix else "html")
    kind = {"htm": "html", "markdown": "md"}.get(kind, kind)
    if kind not in FORMATS:
        msg = f"--format {kind!r} is none; choose {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise UsageError(msg)
    if out is not None and out.exists() and not overwrite:
        msg = f"{out}: already there; choose another name, or allow --overwrite"
        raise UsageError(msg)
    opened = Run.open(run_path(run))
    with reading(opened):
        if plots is not None:
            from globa_tui.report.plots import write_plots

            for path in write_plots(opened, plots, overwrite=overwrite):
                print(printable(path))
            if out is None and form is None:
                return
        text = _text(opened, kind, recipe, (lambda line: None) if quiet else say)
    if out is None:
        sys.stdout.write(text)
        return
    from store.files import make_folder, write_atomic

    make_folder(out.parent)
    write_atomic(out, text.encode())
    print(printable(out))


def _text(run: Run, kind: str, recipe: Path | None, remark: Callable[[str], None]) -> str:
    from globa_tui.report.content import content

    shown = _recipe(recipe) if recipe is not None else None
    if kind == "html":
        from globa_tui.report.page import page

        return page(content(run, shown, remark))
    if kind == "md":
        from globa_tui.report.markdown import markdown

        return markdown(run, shown)
    from globa_tui.cli.exports import csv_text, json_text

    return csv_text(run) if kind == "csv" else json_text(run)


def _recipe(path: Path) -> str:
    """The text of a recipe, once it is known to be one."""
    from globa_tui.recipe import Recipe
    from globa_tui.safe_yaml import read

    text = read(path)
    Recipe.from_yaml(text, str(path))
    return text
