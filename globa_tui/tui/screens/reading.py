"""A page of text over the screen, to read and scroll."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static


class ReadingScreen(ModalScreen[None]):
    """Text with a title; j, k, arrows and pages scroll, esc closes."""

    BINDINGS = [
        Binding("escape,q,backspace,question_mark", "dismiss", "Close", id="reading.close"),
        Binding("j", "scroll('scroll_down')", "Down", id="reading.down"),
        Binding("k", "scroll('scroll_up')", "Up", id="reading.up"),
        Binding("ctrl+d", "scroll('scroll_page_down')", "Page down", id="reading.page_down"),
        Binding("ctrl+u", "scroll('scroll_page_up')", "Page up", id="reading.page_up"),
        Binding("g", "scroll('scroll_home')", "Start", id="reading.first"),
        Binding("G", "scroll('scroll_end')", "End", id="reading.last"),
    ]

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="page") as page:
            page.border_title = self._title
            page.border_subtitle = "esc closes"
            yield Static(self._text, id="reading-text")

    def action_scroll(self, method: str) -> None:
        """Scroll the page."""
        getattr(self.query_one(VerticalScroll), method)(animate=False)
