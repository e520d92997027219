"""The grid of the map: labels that stay, cells that scroll, and a cursor on one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from globa_tui.tui.bindings import bindings
from globa_tui.tui.block_map import BlockMap, Cell
from globa_tui.tui.ink import has_colours, ramp
from globa_tui.tui.words import fit_label

LABEL = 15
WIDEST = 4
MARK = "◆"


@dataclass(frozen=True, slots=True)
class Look:
    """How a cell looks: the level of its number, or a sign where there is none, and whether it is marked."""

    level: int | None
    sign: str = " "
    marked: bool = False


NOTHING = Look(None)


class GridMap(Widget, can_focus=True, inherit_bindings=False):
    """Draws a `BlockMap`; what a cell looks like is asked when it is drawn.

    Parameters
    ----------
    looks : callable
        Asked once for every drawing; gives what gives the look of a cell.
    """

    BINDINGS = bindings("grid")
    COMPONENT_CLASSES = {"grid-map--head", "grid-map--failed", "grid-map--none", "grid-map--cursor"}
    DEFAULT_CSS = """
    GridMap { width: 1fr; height: 1fr; }
    GridMap > .grid-map--head { color: $text-muted; }
    GridMap > .grid-map--failed { color: $text-error; text-style: bold; }
    GridMap > .grid-map--none { color: $text-muted; }
    GridMap > .grid-map--cursor { text-style: bold reverse; }
    """

    class Moved(Message):
        """The cursor stands on another cell."""

    class Opened(Message):
        """The cell under the cursor was opened with enter or a click."""

    def __init__(self, looks: Callable[[], Callable[[Cell], Look]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._looks = looks
        self._look: Callable[[Cell], Look] = lambda _: NOTHING
        self._base = Style()
        self._shades: list[tuple[str, Style]] = []
        """Glyph and style of every level, as last drawn."""
        self._signs: dict[str, Style] = {}
        self._map = BlockMap((), ())
        self._row = self._column = 0
        self._top = self._left = 0
        self._longest = 0
        """Cells of the longest label."""

    @property
    def cell(self) -> Cell:
        """Layers of the cell under the cursor."""
        rows = self._map.rows
        if not rows or self._column >= len(rows[self._row].cells):
            return ()
        return rows[self._row].cells[self._column]

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column of the cursor."""
        return self._row, self._column

    def show_map(self, grid: BlockMap) -> None:
        """Show another grid; the cursor stays on its layer, or goes to the first one."""
        if grid != self._map:
            kept = self.cell
            self._map = grid
            self._longest = max((cell_len(row.label) for row in grid.rows), default=0)
            place = grid.place_of(kept[0]) if kept else None
            self._row, self._column = place or (0, 0)
            self._show_cursor()
        self.refresh()

    def go_to(self, index: int) -> None:
        """Put the cursor on a layer."""
        if place := self._map.place_of(index):
            self._move_to(*place)

    def action_grid(self, down: int, right: int) -> None:
        """Move the cursor by cells, over empty places."""
        row, column = self._row, self._column
        while 0 <= row + down < len(self._map.rows) and 0 <= column + right < self._map.columns:
            row, column = row + down, column + right
            cells = self._map.rows[row].cells
            if column >= len(cells) and down:
                column = len(cells) - 1
            if column < len(cells) and cells[column]:
                self._move_to(row, column)
                return

    def action_ends(self, side: int) -> None:
        """Move the cursor to the first or the last block."""
        cells = self._map.rows[self._row].cells if self._map.rows else ()
        filled = [column for column, cell in enumerate(cells) if cell]
        if filled:
            self._move_to(self._row, filled[0 if side < 0 else -1])

    def action_open(self) -> None:
        """Open the cell under the cursor."""
        if self.cell:
            self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        """Set the cursor; a click on the cell under it opens that."""
        column = self._left + (event.x - self._label - 1) // self._width
        row = self._top + (event.y - 1) // self._height
        if event.x <= self._label or event.y < 1 or row >= len(self._map.rows):
            return
        cells = self._map.rows[row].cells
        if column >= len(cells) or not cells[column]:
            return
        if (row, column) == self.cursor:
            self.action_open()
        else:
            self._move_to(row, column)

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        self._show_cursor()
        self.refresh()

    def notify_style_update(self) -> None:
        """Repaint in new colours."""
        super().notify_style_update()
        self.refresh()

    @property
    def _label(self) -> int:
        """Cells that the labels take."""
        return min(self._longest, max(LABEL, self.size.width // 5))

    @property
    def _width(self) -> int:
        """Cells that one matrix takes: as many as fit, one where even two do not."""
        room = self.size.width - self._label - 1
        return min(max(room // max(self._map.columns, 1), 1), WIDEST)

    @property
    def _height(self) -> int:
        """Lines that one matrix takes: two where that keeps it from being flat, and all rows fit."""
        return 2 if self._width > 2 and 2 * len(self._map.rows) < self.size.height else 1

    @property
    def _in_view(self) -> tuple[int, int]:
        """Rows and columns that fit."""
        return max((self.size.height - 1) // self._height, 1), max(
            (self.size.width - self._label - 1) // self._width, 1
        )

    def _move_to(self, row: int, column: int) -> None:
        if (row, column) != self.cursor:
            before, view = self._row, (self._top, self._left)
            self._row, self._column = row, column
            self._show_cursor()
            if (self._top, self._left) == view:
                self.refresh(*(self._lines_of(each) for each in {before, row}))
            else:
                self.refresh()
            self.post_message(self.Moved())

    def _lines_of(self, row: int) -> Region:
        """Where a row is drawn."""
        return Region(0, 1 + (row - self._top) * self._height, self.size.width, self._height)

    def _show_cursor(self) -> None:
        rows, columns = self._in_view
        self._top = min(max(self._top, self._row - rows + 1), self._row)
        self._top = max(min(self._top, len(self._map.rows) - rows), 0)
        self._left = min(max(self._left, self._column - columns + 1), self._column)
        self._left = max(min(self._left, self._map.columns - columns), 0)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw some lines, with styles and looks asked for once for all of them."""
        base = self._base = self.rich_style
        self._look = self._looks()
        self._shades = [(shade.glyph, base + shade.style) for shade in ramp(has_colours(self.app))]
        self._signs = {
            sign: base + self.get_component_rich_style(name, partial=True)
            for sign, name in (("!", "grid-map--failed"), ("", "grid-map--none"))
        }
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Draw the numbers of the blocks, or one row."""
        base = self._base
        if y == 0:
            segments = [Segment(self._head(), base + self.get_component_rich_style("grid-map--head"))]
        elif (row := self._top + (y - 1) // self._height) < len(self._map.rows):
            segments = self._row_segments(row, base, first=(y - 1) % self._height == 0)
        else:
            segments = []
        # Every segment has a style: Textual's monochrome filter fails on one without.
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _head(self) -> str:
        """Numbers of every second, fourth, … block, as they fit."""
        width, columns = self._width, self._in_view[1]
        longest = max((len(str(block)) for block in self._map.blocks), default=1)
        step = next((step for step in (1, 2, 4, 5, 8, 10) if step * width > longest), 20)
        line = [" "] * (self._label + 1 + columns * width)
        for place in range(self._left, min(self._left + columns, len(self._map.blocks))):
            if place % step == 0:
                at = self._label + 1 + (place - self._left) * width
                number = str(self._map.blocks[place])
                if at + len(number) <= len(line):
                    line[at : at + len(number)] = number
        if self._left + columns < self._map.columns:
            line[-1] = "→"
        if self._left:
            line[self._label] = "←"
        line[: self._label] = f"{'block':>{self._label}}"[: self._label]
        if self._label > len("block") + 1:
            below = self._top + self._in_view[0] < len(self._map.rows)
            line[:2] = "↑" if self._top else " ", "↓" if below else " "
        return "".join(line)

    def _row_segments(self, row: int, base: Style, *, first: bool) -> list[Segment]:
        width, columns = self._width, self._in_view[1]
        label = fit_label(self._map.rows[row].label, self._label) if first else ""
        segments = [Segment(label + " " * (self._label + 1 - cell_len(label)), base)]
        cells = self._map.rows[row].cells[self._left : self._left + columns]
        drawn = [
            self._drawn(cell, width, first=first, cursor=(row, self._left + place) == self.cursor)
            for place, cell in enumerate(cells)
        ]
        for style, run in groupby(drawn, key=lambda part: part[1]):
            segments.append(Segment("".join(text for text, _ in run), style))
        return segments

    def _drawn(self, cell: Cell, width: int, *, first: bool, cursor: bool) -> tuple[str, Style]:
        """Text and style of one cell."""
        look = self._look(cell) if cell else NOTHING
        if look.level is not None:
            glyph, style = self._shades[look.level]
            text = glyph * width
        else:
            text = look.sign.ljust(width) if first else " " * width
            style = self._signs.get(look.sign, self._signs[""])
        if look.marked and first:
            text = f"{MARK}{text[1:]}"
        if cursor and self.has_focus:
            inner = MARK if look.marked and first else text[-1]
            text = {1: text.replace(" ", "+"), 2: f"{MARK}]" if look.marked else "[]"}.get(width, "")
            text = text or f"[{inner * (width - 2)}]"
            style += self.get_component_rich_style("grid-map--cursor", partial=True)
        return text, style
