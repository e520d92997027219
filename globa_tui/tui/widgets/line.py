"""One line of text with a left and a right end, repainted only when it changed."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget


class Line(Widget):
    """A line whose right end wins when there is no room for both."""

    DEFAULT_CSS = """
    Line { height: 1; width: 1fr; link-style: none; link-style-hover: underline; link-background-hover: $surface; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._left = Text()
        self._right = Text()

    def show(self, left: Text, right: Text | None = None) -> None:
        """Show these texts."""
        right = right or Text()
        if (left, left.spans, right, right.spans) != (self._left, self._left.spans, self._right, self._right.spans):
            self._left, self._right = left, right
            self.refresh()

    @property
    def plain(self) -> str:
        """What the line says, for tests and for tooltips."""
        return f"{self._left.plain} {self._right.plain}".strip()

    def render(self) -> Text:
        width = self.size.width
        right = self._right.copy()
        right.truncate(width)
        left = self._left.copy()
        room = max(width - right.cell_len - (1 if right.cell_len else 0), 0)
        left.truncate(room, overflow="ellipsis", pad=False)
        gap = max(width - left.cell_len - right.cell_len, 0)
        return Text.assemble(left, " " * gap, right, no_wrap=True, end="")
