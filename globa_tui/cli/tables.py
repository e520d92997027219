"""Tables on stdout: Rich on a terminal, aligned plain text elsewhere, CSV on request."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from globa_tui.diagnostics import printable

Cell = str | int | float | None
Align = Literal["left", "right"]

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """Rows of text under column names, and optionally a last row that sums them up."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None = None
    left: frozenset[str] = field(default_factory=frozenset)
    """Columns of words; all others are numbers and stand right."""

    def align(self, column: str) -> Align:
        """On which side the cells of a column stand."""
        return "left" if column in self.left else "right"


def show_table(table: Table) -> None:
    """Print a table: with Rich when stdout is a terminal, else as plain text that is never cut."""
    if sys.stdout.isatty():
        _print_rich(table)
    else:
        sys.stdout.write(plain_text(table))


def plain_text(table: Table) -> str:
    """The table as aligned columns of plain text, every cell whole."""
    lines = [list(table.columns), *table.rows, *([table.total] if table.total else [])]
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = ""
    for line in lines:
        placed = [
            cell.ljust(width) if table.align(column) == "left" else cell.rjust(width)
            for cell, width, column in zip(line, widths, table.columns, strict=True)
        ]
        text += "  ".join(placed).rstrip() + "\n"
    return text


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Comma-separated values that a spreadsheet does not take for formulas."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_csv_cell(cell) for cell in row] for row in rows])
    return buffer.getvalue()


def _csv_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int | float):
        return repr(cell)
    text = printable(cell)
    risky = cell.startswith(_FORMULA) or text.startswith(_FORMULA)
    return f"'{text}" if risky and not _NUMBER.fullmatch(cell) else text


def _print_rich(table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=SIMPLE_HEAD, show_footer=False, pad_edge=False, collapse_padding=True)
    for column in table.columns:
        wraps = table.align(column) == "left"
        drawn.add_column(Text(column), justify=table.align(column), no_wrap=not wraps, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    if table.total:
        drawn.add_section()
        drawn.add_row(*(Text(printable(cell), style="bold") for cell in table.total))
    Console().print(drawn)
