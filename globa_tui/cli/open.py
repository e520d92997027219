"""``globa-tui open``."""

from __future__ import annotations

from typing import Annotated

import typer

from globa_tui.cli.options import ReadableRun, run_path

EXAMPLE = """
globa-tui open math-code
globa-tui open math-code.h5
"""

MouseOption = Annotated[
    bool, typer.Option("--mouse/--no-mouse", help="Mouse in the interface; without it the terminal selects text.")
]


def open_run(run: ReadableRun, mouse: MouseOption = True) -> int:
    """Open the terminal interface on an existing run. It starts nothing."""
    from globa_tui.cli.terminal import require_terminal
    from globa_tui.tui import run_inspect
    from store.run import Run

    require_terminal("show", run)
    path = run_path(run)
    Run.open(path)
    return run_inspect(path, None, mouse=mouse)
