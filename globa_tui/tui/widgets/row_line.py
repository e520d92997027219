"""One line of a table: its cells beside each other, in as few segments as there are styles.

A screen of a table has 500 cells, and a page of it is drawn at every key that turns one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

GAP = 1
NO_STYLE = Style()
Justify = Literal["left", "right"]
Cell = Text | str
"""What stands in a cell; a text without a style may be a plain one."""
Part = tuple[Cell, int, Justify]
"""A cell, with its width and the side it stands at."""


def row_line(parts: Iterable[Part], style: Style, width: int, console: Console, gap: int = GAP) -> Strip:
    """Draw cells beside each other.

    Parameters
    ----------
    parts : iterable of Part
        The cells, from the left.
    style : Style
        Of the line; cells add their own to it. Every segment gets one, for Textual's monochrome filter fails without.
    width : int
        Cells of the line.
    console : Console
        Knows the styles that have names.
    gap : int
        Empty cells in front of each.
    """
    segments: list[Segment] = []
    space, run, length = " " * gap, "", 0
    for cell, cells, justify in parts:
        run, length = run + space, length + gap + cells
        plain, own = (cell, "") if isinstance(cell, str) else (cell.plain, cell.style)
        missing = cells - (len(plain) if plain.isascii() else cell_len(plain))
        if missing < 0 or "\n" in plain or not (isinstance(cell, str) or not cell.spans):
            segments += [Segment(run, style), *_fitted(cell, cells, justify, style, console)]
            run = ""
            continue
        padded = plain + " " * missing if justify == "left" else " " * missing + plain
        if own:
            segments += [Segment(run, style), Segment(padded, style + console.get_style(own, default=NO_STYLE))]
            run = ""
        else:
            run += padded
    segments.append(Segment(run, style))
    return Strip([segment for segment in segments if segment.text], length).adjust_cell_length(width, style)


def _fitted(cell: Cell, cells: int, justify: Justify, style: Style, console: Console) -> list[Segment]:
    """Segments of a cell that has several styles, or is too long."""
    text = Text(cell) if isinstance(cell, str) else cell.copy()
    text.truncate(cells, overflow="ellipsis")
    missing = max(cells - text.cell_len, 0)
    if justify == "left":
        text.pad_right(missing)
    else:
        text.pad_left(missing)
    return [Segment(part.text, style + (part.style or NO_STYLE)) for part in text.render(console)]
