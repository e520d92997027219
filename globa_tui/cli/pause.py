"""``globa-tui pause``."""

from __future__ import annotations

from globa_tui.cli.control import ask
from globa_tui.cli.options import RunArgument

EXAMPLE = """
globa-tui pause math-code
globa-tui resume math-code
"""


def pause(run: RunArgument) -> None:
    """Let the jobs of RUN wait until `resume`. They finish the layer, tensor or batch they are at."""
    ask(run, "pause", "pauses after the layer, tensor or batch it is at")
