"""Whether this terminal can show the interface, and what to run where it cannot."""

from __future__ import annotations

import shlex

from globa_tui.diagnostics import UsageError


def require_terminal(*headless: str) -> None:
    """Refuse a terminal that cannot show the interface, naming the command that does the same without one.

    Raises
    ------
    UsageError
        With what is in the way and the command to use.
    """
    from globa_tui.tui import terminal_trouble

    trouble = terminal_trouble()
    if trouble:
        msg = f"{trouble}; without one use: globa-tui {shlex.join(headless)}"
        raise UsageError(msg)
