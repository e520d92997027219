"""The table of all layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import Input

from globa_tui.diagnostics import printable
from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.columns import Record
from globa_tui.tui.filters import Filter, FilterError, compile_filter
from globa_tui.tui.metrics import BY_KEY, METRICS, TYPES
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.line import Line
from globa_tui.tui.widgets.row_line import Cell
from globa_tui.tui.widgets.row_table import Column, RowTable
from globa_tui.tui.words import fit_label, name_text, reason, shape

MARKS = {
    "done": ("ok", "green"),
    "failed": ("!!", "bold red"),
    "pending": ("..", "dim"),
    "skipped": ("--", "dim"),
}
SHARES = tuple(f"share.{name}" for name in TYPES)


def columns_for(width: int, chosen: str = "overlap") -> list[Column]:
    """The columns that fit without scrolling sideways, the chosen number among them; the least needed go first."""
    keys: list[tuple[str, int]] = [("overlap", 5), *((key, 4) for key in SHARES)]
    shapes = [Column("shape", "Shape", 11)] if width >= 80 else []
    if width >= 110:
        keys = [("size", 6), *keys, ("rank", 6), ("clustered", 6), ("seconds", 5)]
    if chosen not in dict(keys):
        keys = [(chosen, 6), *keys]
        shapes = shapes if width >= 90 else []
    middle = [Column(key, BY_KEY[key].heading, cells) for key, cells in keys]
    kind = [Column("kind", "Kind", 10, "left")] if width >= 130 else []
    own = [Column("own", "Ovr", 3)] if width >= 90 else []
    return [Column("name", "Layer", 0, "left"), *kind, *shapes, *middle, *own, Column("status", "St", 2)]


class LayersScreen(InspectScreen):
    """One row per tensor, filled in while the job runs."""

    MODE = "layers"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("layers", "metric", "marks", "list")
    BINDINGS = bindings("layers", "metric", "marks")

    def __init__(self) -> None:
        super().__init__()
        self._labels: list[str] = []
        self._filter = ""
        self._keep = Filter()
        self._trouble = ""
        self._sort_key = ""
        self._descending = True
        self._stale = False

    def compose_body(self) -> ComposeResult:
        yield RowTable(self._cell, id="layers")
        yield Line(id="layer-name")
        yield Line(id="layer-note")
        example = "mlp down   D->10   rank>50   block:3-7   !failed"
        filter_line = Input(placeholder=example, id="filter", compact=True, select_on_focus=False)
        filter_line.display = False
        yield filter_line

    @property
    def table(self) -> RowTable:
        """The table."""
        return self.query_one("#layers", RowTable)

    def on_mount(self) -> None:
        """Start on the table."""
        self.table.focus()

    def show_all(self) -> None:
        self._labels = self.inspect.model.labels
        self._read_filter()
        self._show_columns()
        self._show_order()
        self.table.refresh()
        self._show_note()

    def show_records(self, changed: Collection[int]) -> None:
        if self._filter:
            self._show_order()
        elif self._sort_key:
            self._stale = True
        self.table.refresh_rows(changed)
        self._show_tabs_right()
        if self.table.key in changed:
            self._show_note()

    def tabs_right(self) -> Text:
        shown, total = len(self.table.rows), len(self.inspect.model.records)
        text = Text()
        if self.inspect.marks:
            text.append(f"{len(self.inspect.marks)} marked ", "bold yellow")
        if self._filter:
            text.append(f"/{printable(self._filter)} ", "bold yellow")
        if self._sort_key:
            arrow = "↓" if self._descending else "↑"
            text.append(f"sort {BY_KEY[self._sort_key].heading}{arrow} ")
        if self._stale:
            text.append("order is stale, s sorts ", "yellow")
        text.append(f"{shown}/{total} {'tensors ' if self.size.width >= 76 and not text.plain else ''}")
        return text

    def rows_shown(self) -> Sequence[int]:
        return self.table.rows

    def close_detail(self) -> bool:
        line = self.query_one("#filter", Input)
        if line.display or self._filter:
            line.value = ""
            self._apply_filter("")
            self._close_line()
            return True
        return False

    def action_filter(self) -> None:
        """Open the filter line."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.value = self._filter
        line.cursor_position = len(self._filter)
        line.focus()

    @on(Input.Changed, "#filter")
    def filter_live(self, event: Input.Changed) -> None:
        """Filter while typing."""
        self._apply_filter(event.value)

    @on(Input.Submitted, "#filter")
    def filter_done(self) -> None:
        """Back to the table with the filter in place, once it can be read."""
        if not self._trouble:
            self._close_line()

    def action_sort(self) -> None:
        """Sort by the next column; first refresh an order that new results made stale."""
        if self._stale:
            self._show_order()
            return
        keys = ["", *(column.key for column in self.table.columns if column.key in BY_KEY)]
        self._sort_by(keys[(keys.index(self._sort_key) + 1) % len(keys)] if self._sort_key in keys else "")

    def action_metric(self, by: int) -> None:
        """Show the next metric in a column, and sort by it."""
        keys = [metric.key for metric in METRICS]
        self._take(keys[(keys.index(self.inspect.metric) + by) % len(keys)])

    def action_pick_metric(self) -> None:
        """Choose a metric from a list."""
        from globa_tui.tui.screens.metric import MetricScreen

        self.app.push_screen(MetricScreen(self.inspect.metric), self._take)

    def _take(self, key: str | None) -> None:
        if key is not None:
            self.inspect.metric = key
            self._sort_by(key)

    def action_mark(self) -> None:
        """Mark the layer, or take the mark away, and go one down."""
        if self.table.key is not None:
            self.inspect.toggle_marks([self.table.key])
            self.table.action_move(1)
            self._show_marks()

    def action_mark_all(self) -> None:
        """Mark all layers that the filter leaves, or none of them."""
        self.inspect.toggle_marks(self.table.rows)
        self._show_marks()

    def action_recipe_of_marks(self) -> None:
        """Edit the coefficients of the marked layers, or of the one under the cursor."""
        self.inspect.open_recipe_for([] if self.table.key is None else [self.table.key])

    def _show_marks(self) -> None:
        if "!m" in self._filter:
            self._read_filter()
            self._show_order()
        self.table.refresh()
        self._show_tabs_right()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._descending = not self._descending
        self._show_columns()
        self._show_order()

    def action_next_failed(self, by: int) -> None:
        """Go to the next failed layer, round the end."""
        rows, records = list(self.table.rows), self.inspect.model.records
        failed = [place for place, index in enumerate(rows) if records[index].get("status") == "failed"]
        if not failed:
            self.notify("No layer has failed.", markup=False)
            return
        here = rows.index(self.table.key) if self.table.key is not None else 0
        ahead = [place for place in failed if (place > here if by > 0 else place < here)]
        ring = ahead or failed
        self.table.go_to(rows[ring[0] if by > 0 else ring[-1]])

    @on(RowTable.HeaderClicked)
    def sort_clicked(self, event: RowTable.HeaderClicked) -> None:
        """Sort by the column that was clicked, or turn it round."""
        if event.column == self._sort_key:
            self.action_reverse()
        else:
            self._sort_by(event.column if event.column in BY_KEY else "")

    @on(RowTable.Moved)
    def describe(self) -> None:
        """Say what the row under the cursor is."""
        self._show_note()

    @on(RowTable.Opened)
    def open_layer(self, event: RowTable.Opened) -> None:
        """Open the layer."""
        self.inspect.open_layer(event.key)

    def _sort_by(self, key: str) -> None:
        at_top = self.table.at_top
        self._sort_key, self._descending = key, True
        self._show_columns()
        self._show_order()
        if at_top:
            self.table.action_edge(-1)

    def _apply_filter(self, text: str) -> None:
        """Take a filter; one that cannot be read leaves the last one in place and says what is wrong."""
        if text.strip() != self._filter or self._trouble:
            before, self._filter = self._filter, text.strip()
            if self._read_filter():
                self._show_order()
            else:
                self._filter = before
            self._show_note()

    def _read_filter(self) -> bool:
        app = self.inspect
        try:
            self._keep = compile_filter(self._filter, app.model.records, app.marks)
        except FilterError as error:
            self._trouble = str(error)
            return False
        self._trouble = ""
        return True

    def _close_line(self) -> None:
        self.query_one("#filter", Input).display = False
        self.table.focus()

    def _show_columns(self) -> None:
        mark = (self._sort_key, "↓" if self._descending else "↑") if self._sort_key else ("", "")
        self.table.set_columns(columns_for(self.size.width, self.inspect.metric), mark)

    def _show_order(self) -> None:
        self._stale = False
        records = self.inspect.model.records
        rows = list(range(len(records)))
        if self._filter:
            rows = [index for index in rows if self._keep(records[index])]
        if self._sort_key in BY_KEY:
            rows = self._sorted(rows)
        elif not self._descending:
            rows.reverse()
        nothing = "0 layers." if records else "Reading the index ..."
        said = f"0 of {len(records)} match {printable(self._filter)!r}. esc clears." if self._filter else nothing
        self.table.empty = Text(said, STYLES["dim"])
        self.table.set_rows(rows)
        self.inspect.order = rows
        self._show_tabs_right()

    def _sorted(self, rows: list[int]) -> list[int]:
        import numpy as np

        # Of layers with equal numbers the first stays the first, and those without a number come last.
        numbers = self.inspect.model.array(self._sort_key)[rows]
        places = np.argsort(-numbers if self._descending else numbers, kind="stable")
        found: list[int] = np.array(rows, dtype=int)[places].tolist()
        return found

    def _show_tabs_right(self) -> None:
        self.show_chrome()

    def _show_note(self) -> None:
        name, note = self.query_one("#layer-name", Line), self.query_one("#layer-note", Line)
        if self._trouble:
            name.show(Text(f" {self._trouble}", STYLES["bad"]))
            note.show(Text(f" Shown is the filter {printable(self._filter) or 'before'!r}.", STYLES["dim"]))
            return
        if self.table.key is None:
            name.show(Text())
            note.show(Text())
            return
        record = self.inspect.model.records[self.table.key]
        name.show(Text.assemble(" ", name_text(record["name"], "bold")))
        note.show(Text.assemble(" ", note_of(record), self.inspect.own_words(self.table.key)))

    def _cell(self, key: int, column: str, width: int) -> Cell:
        app = self.inspect
        model = app.model
        record = model.records[key]
        status = record["status"]
        if column in BY_KEY:
            if status != "done":
                return Text(".." if status == "pending" else "-", "dim")
            value = model.number(column, key)
            return "-" if value is None else BY_KEY[column].format(value)
        if column == "name":
            style = "" if status == "done" else MARKS[status][1]
            if not app.marks:
                return Text(fit_label(self._labels[key], width), style)
            mark = ("◆ ", "bold yellow") if key in app.marks else ("  ", "")
            return Text.assemble(mark, (fit_label(self._labels[key], width - 2), style))
        if column == "shape":
            return Text(shape(record["shape"]), STYLES["dim"])
        if column == "kind":
            return printable(record["kind"])
        if column == "own":
            return Text("*" if key in app.own_layers else "", "bold yellow")
        return Text(*MARKS[status])


def note_of(record: Record) -> Text:
    """One line on a layer: its facts, or why there are none."""
    status = record.get("status")
    if status == "failed":
        return Text.assemble(("!! ", STYLES["bad"]), reason(record))
    facts = [f"{printable(record.get('kind') or 'tensor')} {shape(record['shape'])}"]
    if status == "pending":
        facts.append("not analysed yet")
    elif status == "skipped":
        facts.append(f"not analysed: {printable(record.get('error') or 'not a matrix, or left out')}")
    ranks = record.get("rank")
    if ranks:
        facts.append("rank " + "/".join(str(rank) for rank in ranks))
    size = record.get("relative_size")
    if size:
        facts.append("size " + " ".join(f"{100 * value:.2g}%" for value in size if value is not None))
    if record.get("seconds") is not None and status == "done":
        facts.append(f"{record['seconds']:.1f} s")
    return Text(" · ".join(facts))
