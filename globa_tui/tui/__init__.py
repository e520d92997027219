"""The terminal interface: `run_inspect` opens it on a run, and starts or joins the analysis when asked to.

Textual is imported inside `run_inspect`, after the environment that it reads at import is in place.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from globa_tui.diagnostics import ExitCode, say

if TYPE_CHECKING:
    from globa_tui.jobs.settings import AnalysisRequest

__all__ = ["run_inspect"]

SWITCH = 0.0005
"""Seconds that the thread which paints waits at most for the one that reads, wherever both want the interpreter."""


def run_inspect(run: Path, request: AnalysisRequest | None = None, *, mouse: bool = True) -> int:
    """Open the terminal interface on a run and return the exit code.

    Parameters
    ----------
    run : Path
        The run folder or packed file.
    request : AnalysisRequest, optional
        The analysis to start, or to join when it already runs. Without one no job is ever started.
    mouse : bool
        Whether to ask the terminal for mouse events; without them the terminal selects text by itself.

    Raises
    ------
    UsageError
        When the user's configuration cannot be used.
    """
    if trouble := terminal_trouble():
        say(f"{trouble}; use `globa-tui show {run}`, `globa-tui status {run}` or `globa-tui analyze` instead")
        return ExitCode.USAGE
    _prepare_environment()
    from globa_tui.tui.app import InspectApp
    from globa_tui.tui.keymap import config_file, read_keymap
    from globa_tui.tui.plain import wants_ascii

    app = InspectApp(run, request, keymap=read_keymap(config_file()))
    if wants_ascii(app.console.color_system, getattr(sys.__stderr__, "encoding", None)):
        app.use_ascii()
    sys.setswitchinterval(SWITCH)
    app.run(mouse=mouse)
    # A terminal that hung up takes no last words.
    with contextlib.suppress(OSError):
        for line in app.last_words:
            say(line)
    return app.return_code if app.return_code is not None else ExitCode.FAILED


def terminal_trouble() -> str | None:
    """Why this terminal cannot show the interface, or None when it can."""
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        return "the interface needs a terminal on stdin and stderr"
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return f"the interface cannot draw on TERM={os.environ.get('TERM', '')!r}"
    return None


def _prepare_environment() -> None:
    """Settings that Textual reads when it is imported; a value that the user set stays."""
    if "SSH_CONNECTION" in os.environ:
        os.environ.setdefault("TEXTUAL_FPS", "20")
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
