"""``globa-tui cancel``."""

from __future__ import annotations

from globa_tui.cli.control import ask
from globa_tui.cli.options import RunArgument

EXAMPLE = "globa-tui cancel math-code"


def cancel(run: RunArgument) -> None:
    """Stop the jobs of RUN. Finished layers are kept; an unfinished merge leaves nothing behind."""
    ask(run, "cancel", "stops after the layer, tensor or batch it is at; finished layers are kept")
