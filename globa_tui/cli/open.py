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
    from store.errors import RunNotFoundError

    require_terminal("show", run)
    path = run_path(run)
    # The interface opens the run itself, in a thread of its own; here only what is no run at all is refused.
    if not (path if path.suffix == ".h5" else path / "run.json").is_file():
        msg = f"{path}: no run here; `globa-tui inspect BASE FT1 FT2 --store {path}` makes one"
        raise RunNotFoundError(msg)
    return run_inspect(path, None, mouse=mouse)
