"""The commands and how they are listed. Importing this must stay cheap: ``--help`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from globa_tui import __version__
from globa_tui.cli import (
    analyze,
    cancel,
    check,
    compare,
    doctor,
    evaluate,
    inspect,
    merge,
    open,
    pack,
    pause,
    report,
    represent,
    resume,
    show,
    status,
    suggest,
    sweep,
)
from globa_tui.diagnostics import ExitCode

app = typer.Typer(
    name="globa-tui",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"globa-tui {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; works in any place.")] = False,
) -> None:
    """Diagnose how fine-tuned models overlap, layer by layer, and merge them."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(ExitCode.USAGE)


def _add(command: Callable[..., Any], name: str, example: str) -> None:
    lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
    app.command(name, epilog=f"\b\nExample:\n{lines}")(command)


_add(inspect.inspect, "inspect", inspect.EXAMPLE)
_add(open.open_run, "open", open.EXAMPLE)
_add(analyze.analyze, "analyze", analyze.EXAMPLE)
_add(show.show, "show", show.EXAMPLE)
_add(report.report, "report", report.EXAMPLE)
_add(represent.represent, "represent", represent.EXAMPLE)
_add(merge.merge, "merge", merge.EXAMPLE)
_add(check.check, "check", check.EXAMPLE)
_add(evaluate.evaluate, "evaluate", evaluate.EXAMPLE)
_add(sweep.sweep, "sweep", sweep.EXAMPLE)
_add(compare.compare, "compare", compare.EXAMPLE)
_add(suggest.suggest, "suggest", suggest.EXAMPLE)
_add(status.status, "status", status.EXAMPLE)
_add(pause.pause, "pause", pause.EXAMPLE)
_add(resume.resume, "resume", resume.EXAMPLE)
_add(cancel.cancel, "cancel", cancel.EXAMPLE)
_add(pack.pack, "pack", pack.EXAMPLE)
_add(doctor.doctor, "doctor", doctor.EXAMPLE)
