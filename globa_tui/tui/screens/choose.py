"""A choice of one among some, over the screen."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option


class ChooseScreen(ModalScreen[str]):
    """Lists what can be chosen; enter takes one, esc none.

    Parameters
    ----------
    title : str
        What is chosen.
    options : mapping of str to Text
        What each answer looks like.
    now : str, optional
        The answer that the cursor starts on.
    """

    BINDINGS = [
        Binding("escape,q,backspace", "dismiss", "Back", id="choose.back"),
        Binding("j", "step('cursor_down')", "Down", id="choose.down"),
        Binding("k", "step('cursor_up')", "Up", id="choose.up"),
    ]

    def __init__(self, title: str, options: Mapping[str, Text], now: str | None = None) -> None:
        super().__init__()
        self._title = title
        self._options = options
        self._now = now

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = self._title
            box.border_subtitle = "enter takes, esc leaves"
            yield OptionList(*(Option(text, id=name) for name, text in self._options.items()), compact=True)

    def on_mount(self) -> None:
        """Start where things are."""
        if self._now in self._options:
            self.query_one(OptionList).highlighted = list(self._options).index(self._now or "")

    def action_step(self, method: str) -> None:
        """Move the cursor."""
        getattr(self.query_one(OptionList), f"action_{method}")()

    @on(OptionList.OptionSelected)
    def take(self, event: OptionList.OptionSelected) -> None:
        """Close with the answer."""
        self.dismiss(event.option_id)
