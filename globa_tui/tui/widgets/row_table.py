"""A table that draws only the rows in view, so that 20,000 rows cost what 20 do.

The cursor belongs to a row's key, not to its place: filling in, filtering and sorting never lose it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from globa_tui.tui.bindings import bindings
from globa_tui.tui.widgets.row_line import GAP, Cell, Justify, Part, row_line


@dataclass(frozen=True, slots=True)
class Column:
    """One column; width 0 takes what the others leave."""

    key: str
    label: str
    width: int
    justify: Justify = "right"


class RowTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows known by an integer key, with a header line and a row cursor.

    Parameters
    ----------
    cell : callable
        Gives the text of a cell from the row's key, the column's key and the column's width.
    header : bool
        Whether the first line names the columns.
    """

    BINDINGS = bindings("list")
    COMPONENT_CLASSES = {"row-table--header", "row-table--cursor"}
    DEFAULT_CSS = """
    RowTable { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    RowTable > .row-table--header { text-style: bold; color: $text-muted; }
    RowTable > .row-table--cursor { background: $surface-lighten-2; }
    RowTable:focus > .row-table--cursor { background: $primary 60%; color: $text; text-style: bold; }
    """

    @dataclass
    class Moved(Message):
        """The cursor stands on another row; None when there is no row."""

        key: int | None

    @dataclass
    class Opened(Message):
        """A row was opened with enter or a click."""

        key: int

    @dataclass
    class HeaderClicked(Message):
        """The heading of a column was clicked."""

        column: str

    def __init__(self, cell: Callable[[int, str, int], Cell], *, id: str | None = None, header: bool = True) -> None:
        super().__init__(id=id)
        self._cell = cell
        self._base = Style()
        self._top = 1 if header else 0
        self._columns: tuple[Column, ...] = ()
        self._fitting: list[tuple[Column, int]] = []
        """Columns and their widths, as last drawn."""
        self._rows: list[int] = []
        self._cursor = 0
        self.marker: tuple[str, str] = ("", "")
        """Column key and text of the sort mark in the header."""
        self.empty = Text("")
        """Shown instead of rows when there are none."""

    @property
    def key(self) -> int | None:
        """Key of the row under the cursor."""
        return self._rows[self._cursor] if self._rows else None

    @property
    def at_top(self) -> bool:
        """Whether the cursor stands on the first row, where nobody chose one."""
        return self._cursor == 0

    @property
    def rows(self) -> Sequence[int]:
        """Keys of the rows, in order."""
        return self._rows

    @property
    def columns(self) -> Sequence[Column]:
        """The columns, from the left."""
        return self._columns

    def set_columns(self, columns: Iterable[Column], marker: tuple[str, str] | None = None) -> None:
        """Show these columns; `marker` puts a sign behind the label of one."""
        wanted, marker = tuple(columns), marker if marker is not None else self.marker
        if (wanted, marker) != (self._columns, self.marker):
            self._columns, self.marker = wanted, marker
            self.refresh()

    def set_rows(self, keys: Iterable[int]) -> None:
        """Show these rows in this order; the cursor stays on its row while that is among them."""
        before, rows = self.key, list(keys)
        if rows == self._rows:
            return
        shown_at = self._cursor - self.scroll_offset.y
        self._rows = rows
        self._cursor = min(self._cursor, max(len(rows) - 1, 0)) if before is not None else 0
        if before in rows:
            self._cursor = rows.index(before)
        self.virtual_size = Size(self.size.width, len(rows) + self._top)
        self.scroll_to(y=max(self._cursor - shown_at, 0), animate=False, force=True, immediate=True)
        self._show_cursor()
        self.refresh()
        if self.key != before:
            self.post_message(self.Moved(self.key))

    def refresh_rows(self, keys: Iterable[int]) -> None:
        """Repaint these rows, as far as they are in view."""
        top = self.scroll_offset.y
        places = {key: place for place, key in enumerate(self._rows[top : top + self._height], top)}
        for key in keys:
            if key in places:
                self._refresh_place(places[key])

    def go_to(self, key: int) -> None:
        """Put the cursor on a row."""
        if key in self._rows:
            self._move_to(self._rows.index(key))

    def action_move(self, by: int) -> None:
        """Move the cursor by rows."""
        self._move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self._move_to(self._cursor + by * max(self._height - 1, 1))

    def action_edge(self, side: int) -> None:
        """Move the cursor to the first or the last row."""
        self._move_to(0 if side < 0 else len(self._rows) - 1)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        if self.key is not None:
            self.post_message(self.Opened(self.key))

    def on_click(self, event: events.Click) -> None:
        """Set the cursor; a click on the row under it opens that, one on a heading sorts."""
        if event.y < self._top:
            if column := self._column_at(event.x):
                self.post_message(self.HeaderClicked(column))
            return
        place = event.y - self._top + self.scroll_offset.y
        if place >= len(self._rows):
            return
        if place == self._cursor:
            self.action_open()
        else:
            self._move_to(place)

    def on_resize(self) -> None:
        """Follow the width; the rows need no other."""
        self.virtual_size = Size(self.size.width, len(self._rows) + self._top)
        self._show_cursor()
        self.refresh()

    def notify_style_update(self) -> None:
        """Repaint in new colours."""
        super().notify_style_update()
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw some lines, with styles and widths looked up once for all of them."""
        self._base, self._fitting = self.rich_style, self._widths()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Draw the header or one row."""
        base = self._base
        width = self.size.width
        if y < self._top:
            head = base + self.get_component_rich_style("row-table--header")
            return row_line(self._headings(), head, width, self.app.console)
        place = y - self._top + self.scroll_offset.y
        if place >= len(self._rows):
            text = self.empty if not self._rows and y == 2 * self._top else Text("")
            return row_line([(text, width, "left")], base, width, self.app.console, gap=0)
        style = base
        if place == self._cursor:
            style = base + self.get_component_rich_style("row-table--cursor")
        return row_line(self._row(self._rows[place]), style, width, self.app.console)

    def _headings(self) -> Iterator[Part]:
        for column, width in self._widths():
            mark = self.marker[1] if column.key == self.marker[0] else ""
            yield column.label + mark, width, column.justify

    def _row(self, key: int) -> Iterator[Part]:
        for column, width in self._fitting:
            yield self._cell(key, column.key, width), width, column.justify

    def _widths(self) -> list[tuple[Column, int]]:
        fixed = sum(column.width for column in self._columns)
        gaps = GAP * (len(self._columns) + 1)
        rest = max(self.size.width - fixed - gaps, 0)
        return [(column, column.width or rest) for column in self._columns]

    def _column_at(self, x: int) -> str | None:
        start = GAP
        for column, width in self._widths():
            if start <= x < start + width + GAP:
                return column.key
            start += width + GAP
        return None

    def _move_to(self, place: int) -> None:
        place = min(max(place, 0), max(len(self._rows) - 1, 0))
        if place == self._cursor or not self._rows:
            return
        self._refresh_place(self._cursor)
        self._cursor = place
        self._show_cursor()
        self._refresh_place(place)
        self.post_message(self.Moved(self.key))

    @property
    def _height(self) -> int:
        """Rows in view."""
        return max(self.size.height - self._top, 1)

    def _show_cursor(self) -> None:
        height = self._height
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True, immediate=True)
        elif self._cursor >= top + height:
            self.scroll_to(y=self._cursor - height + 1, animate=False, force=True, immediate=True)

    def _refresh_place(self, place: int) -> None:
        y = place - self.scroll_offset.y + self._top
        if self._top <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))
