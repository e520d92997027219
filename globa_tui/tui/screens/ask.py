"""One line of input over the screen."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class AskScreen(ModalScreen[str]):
    """Asks for one line; enter commits what `check` accepts, esc leaves everything as it was.

    Parameters
    ----------
    question : str
        What is asked, with unit and range.
    value : str
        What the line holds at first.
    check : callable
        Says what is wrong with a text, or None.
    """

    BINDINGS = [Binding("escape", "dismiss", "Back", id="ask.back")]

    def __init__(self, question: str, value: str, check: Callable[[str], str | None]) -> None:
        super().__init__()
        self._question = question
        self._value = value
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._question))
            yield Input(self._value, compact=True)
            yield Static(id="ask-trouble", markup=False)

    @on(Input.Submitted)
    def commit(self, event: Input.Submitted) -> None:
        """Close with the text, or say what is wrong with it."""
        trouble = self._check(event.value)
        if trouble is None:
            self.dismiss(event.value)
        else:
            self.query_one("#ask-trouble", Static).update(Text(trouble, "bold red"))
