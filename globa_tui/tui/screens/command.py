"""The command line that does what the recipe screen shows."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from globa_tui.diagnostics import printable
from globa_tui.tui.status import STYLES


class CommandScreen(ModalScreen[bool]):
    """Shows the line; closes with True when it should be written to a file.

    Parameters
    ----------
    line : str
        The command.
    recipe : Path
        Where the recipe under edit is kept.
    """

    BINDINGS = [
        Binding("escape,q,backspace", "dismiss(False)", "Close", id="command.close"),
        Binding("w", "dismiss(True)", "Write to a file", id="command.write"),
    ]

    def __init__(self, line: str, recipe: Path) -> None:
        super().__init__()
        self._line = line
        self._recipe = recipe

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="page") as page:
            page.border_title = "The same on the command line"
            page.border_subtitle = "w writes it to a file, esc closes"
            note = Text("\n\nCopied, where the terminal allows it. The recipe itself is kept in\n", STYLES["dim"])
            yield Static(Text.assemble(Text(self._line), note, printable(self._recipe)), id="reading-text")
