"""A block of text that is repainted only when it changed, below an optional title."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static


class Pane(Static):
    """Text with a title in its top border; styles are in `app.tcss`."""

    def __init__(self, title: str = "", *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._text = Text()
        if title:
            self.border_title = title
            self.add_class("titled")

    def show(self, text: Text) -> None:
        """Show a text."""
        if (text, text.spans) != (self._text, self._text.spans):
            before, self._text = self._text, text
            self.update(text, layout=self._lines(text) is None or self._lines(text) != self._lines(before))

    def _lines(self, text: Text) -> int | None:
        """Lines that a text takes, which is all that its size depends on; None when some have to be wrapped."""
        parts = text.plain.split("\n")
        wrapped = self.styles.text_wrap == "wrap" and max(map(cell_len, parts)) > self.content_size.width
        return None if wrapped else len(parts)

    @property
    def plain(self) -> str:
        """What the block says."""
        return self._text.plain


def lines(*rows: Text | str | tuple[str, str]) -> Text:
    """Rows joined to one text."""
    parts = [row if isinstance(row, Text) else Text(row) if isinstance(row, str) else Text(*row) for row in rows]
    return Text("\n").join(parts)
