"""Tables on stdout: Rich on a terminal, aligned plain text elsewhere, CSV on request."""

from __future__ import annotations

import csv
import io
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from globa_tui.diagnostics import printable

Cell = str | int | float | None
Align = Literal["left", "right"]

MOST_RICH_ROWS = 1000
NARROWEST_NAME = 36
GAP = 2

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """Rows of text under column names, and optionally a last row that sums them up."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None = None
    words: frozenset[str] = field(default_factory=frozenset)
    """Columns of words; all others are numbers and stand right."""
    wraps: frozenset[str] = field(default_factory=frozenset)
    """Columns that a terminal may break into lines."""
    gives_way: tuple[str, ...] = ()
    """Columns that a narrow terminal leaves out, the first one first."""

    def align(self, column: str) -> Align:
        """On which side the cells of a column stand."""
        return "left" if column in self.words else "right"

    def without(self, column: str) -> Table:
        """The table with one column less."""
        place = self.columns.index(column)

        def cut(cells: Sequence[str]) -> list[str]:
            return [*cells[:place], *cells[place + 1 :]]

        return replace(
            self,
            columns=cut(self.columns),
            rows=[cut(row) for row in self.rows],
            total=cut(self.total) if self.total else None,
        )

    def widths(self) -> list[int]:
        """Width of each column, every cell whole."""
        lines = [self.columns, *self.rows, *([self.total] if self.total else [])]
        return [max(len(printable(cell)) for cell in cells) for cells in zip(*lines, strict=True)]


def show_table(table: Table) -> None:
    """Print a table: with Rich when stdout is a terminal, else as plain text that is never cut.

    Rich takes a second for a thousand rows, so a long table is plain text everywhere.
    """
    if sys.stdout.isatty() and len(table.rows) <= MOST_RICH_ROWS:
        _print_rich(table)
    else:
        sys.stdout.write(plain_text(table))


def plain_text(table: Table) -> str:
    """The table as aligned columns of plain text, every cell whole."""
    lines = [table.columns, *table.rows, *([table.total] if table.total else [])]
    placed = []
    for column, *cells in zip(*lines, strict=True):
        texts = [printable(cell) for cell in (column, *cells)]
        width = max(map(len, texts))
        left = table.align(column) == "left"
        placed.append([text.ljust(width) if left else text.rjust(width) for text in texts])
    return "".join(f"{'  '.join(line).rstrip()}\n" for line in zip(*placed, strict=True))


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Comma-separated values that a spreadsheet does not take for formulas."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_csv_cell(column) for column in columns])
    writer.writerows([[_csv_cell(cell) for cell in row] for row in rows])
    return buffer.getvalue()


def _csv_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int | float):
        return repr(cell)
    text = printable(cell)
    # Some spreadsheets drop spaces before they look, some take signs of full width for their own.
    bare = unicodedata.normalize("NFKC", text).lstrip()
    risky = any(one.startswith(_FORMULA) for one in (cell, text, bare))
    return f"'{text}" if risky and not _NUMBER.fullmatch(cell) else text


def _print_rich(table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    table = _fitted(table, console.width)
    drawn = RichTable(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), show_footer=table.total is not None
    )
    for number, column in enumerate(table.columns):
        footer = Text(printable(table.total[number])) if table.total else ""
        wraps = column in table.wraps
        drawn.add_column(
            Text(printable(column)), footer, justify=table.align(column), no_wrap=not wraps, overflow="fold"
        )
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console.print(drawn)


def _fitted(table: Table, width: int) -> Table:
    """The table without the columns that would squeeze the others out of a narrow terminal."""
    for column in table.gives_way:
        widths = zip(table.columns, table.widths(), strict=True)
        needed = [min(size, NARROWEST_NAME) if name in table.wraps else size for name, size in widths]
        if sum(needed) + GAP * (len(needed) - 1) <= width:
            break
        table = table.without(column)
    return table
