"""The whole model as a grid of one number per matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult

from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.block_map import BlockMap, Cell, block_map
from globa_tui.tui.ink import has_colours, level_of, ramp
from globa_tui.tui.metric import Metric
from globa_tui.tui.metrics import BY_KEY, METRICS
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.screens.layers import note_of
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.grid_map import GridMap, Look
from globa_tui.tui.widgets.line import Line
from globa_tui.tui.words import name_text


class MapScreen(InspectScreen):
    """Blocks by modules; any metric of the registry as colour, or as glyphs where there are no colours."""

    MODE = "map"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("map", "metric", "marks", "grid")
    BINDINGS = bindings("map", "metric", "marks")

    def __init__(self) -> None:
        super().__init__()
        self._map = BlockMap((), ())
        self._numbers: NDArray[np.float64] = np.zeros(0)
        """The metric of every layer."""
        self._means: NDArray[np.float64] = np.zeros(0)
        """And of every cell."""
        self._ends: tuple[float, float] | None = None
        """Least and largest number of a cell, when there is any."""
        self._layers: object = None

    def compose_body(self) -> ComposeResult:
        yield Line(id="map-title")
        yield GridMap(self._looks, id="map")
        yield Line(id="map-legend")
        yield Line(id="layer-name")
        yield Line(id="layer-note")

    @property
    def grid(self) -> GridMap:
        """The grid."""
        return self.query_one("#map", GridMap)

    @property
    def metric(self) -> Metric:
        """The number that is shown."""
        return BY_KEY[self.inspect.metric]

    def on_mount(self) -> None:
        """Start on the grid."""
        self.grid.focus()

    def show_all(self) -> None:
        records = self.inspect.model.records
        if self._layers is not self.inspect.model.manifest:
            self._layers, self._map = self.inspect.model.manifest, block_map(records)
        self._read()
        self.grid.show_map(self._map)
        self._show_texts()

    def show_records(self, changed: Collection[int]) -> None:
        self._read()
        self.grid.refresh()
        self._show_texts()

    def _read(self) -> None:
        """Take over the numbers, and find the ends of the scale."""
        self._numbers = self.inspect.model.array(self.metric.key)
        self._means = self._map.means(self._numbers)
        known = self._means[~np.isnan(self._means)]
        self._ends = (float(known.min()), float(known.max())) if len(known) else None

    def _mean(self, cell: Cell) -> float | None:
        """The number of a cell: of its layer, or the mean over its experts."""
        mean = float(self._means[self._map.numbers[cell[0]]])
        return None if math.isnan(mean) else mean

    def _looks(self) -> Callable[[Cell], Look]:
        marks, failed, ends = self.inspect.marks, self.inspect.model.leaders.failed, self._ends

        def look(cell: Cell) -> Look:
            marked = bool(marks) and not marks.isdisjoint(cell)
            if failed and not failed.isdisjoint(cell):
                return Look(None, "!", marked)
            mean = self._mean(cell)
            if mean is None or ends is None:
                return Look(None, "·", marked)
            return Look(level_of(mean, *ends), marked=marked)

        return look

    @on(GridMap.Moved)
    def describe(self) -> None:
        """Say what the cell under the cursor is."""
        self._show_cell()

    @on(GridMap.Opened)
    def open_cell(self) -> None:
        """Open the layer of the cell, of experts the one with the largest number."""
        if self.grid.cell:
            self.inspect.order = list(self.rows_shown())
            self.inspect.open_layer(self._largest(self.grid.cell))

    def _largest(self, cell: Cell) -> int:
        failed = [index for index in cell if self.inspect.model.records[index]["status"] == "failed"]
        return failed[0] if failed else max(cell, key=self._rank)

    def _rank(self, index: int) -> float:
        number = float(self._numbers[index])
        return -math.inf if math.isnan(number) else number

    def rows_shown(self) -> Sequence[int]:
        return [index for row in self._map.rows for cell in row.cells for index in cell]

    def action_metric(self, by: int) -> None:
        """Show the next metric, or the one before."""
        keys = [metric.key for metric in METRICS]
        self._take(keys[(keys.index(self.metric.key) + by) % len(keys)])

    def action_pick_metric(self) -> None:
        """Choose a metric from a list."""
        from globa_tui.tui.screens.metric import MetricScreen

        self.app.push_screen(MetricScreen(self.metric.key), self._take)

    def _take(self, key: str | None) -> None:
        if key is not None:
            self.inspect.metric = key
            self.show_all()

    def action_next_failed(self, by: int) -> None:
        """Go to the next cell with a failed layer, round the end."""
        records = self.inspect.model.records
        cells = self._map.cells
        failed = [n for n, cell in enumerate(cells) if any(records[index]["status"] == "failed" for index in cell)]
        if not failed:
            self.notify("No layer has failed.", markup=False)
            return
        here = cells.index(self.grid.cell) if self.grid.cell in cells else 0
        ahead = [place for place in failed if (place > here if by > 0 else place < here)] or failed
        self.grid.go_to(cells[ahead[0 if by > 0 else -1]][0])

    def action_mark(self) -> None:
        """Mark the layers of the cell, or take the marks away."""
        self.inspect.toggle_marks(self.grid.cell)
        self._show_marks()

    def action_mark_all(self) -> None:
        """Mark every layer of the map, or none."""
        self.inspect.toggle_marks(self.rows_shown())
        self._show_marks()

    def action_recipe_of_marks(self) -> None:
        """Edit the coefficients of the marked layers, or of the cell under the cursor."""
        self.inspect.open_recipe_for(self.grid.cell)

    def _show_marks(self) -> None:
        """Show the marks."""
        self.grid.refresh()
        self.show_chrome()

    def tabs_right(self) -> Text:
        marks = len(self.inspect.marks)
        shown = np.count_nonzero(~np.isnan(self._numbers))
        text = Text(f"{marks} marked  " if marks else "", "bold yellow")
        word = "analysed " if self.size.width >= 76 else ""
        text.append(f"{shown}/{self.inspect.model.counts.total} {word}", "not bold default")
        return text

    def _show_texts(self) -> None:
        metric = self.metric
        title = Text.assemble(" ", (metric.title, "bold"), "  ", (metric.meaning, STYLES["dim"]))
        self.query_one("#map-title", Line).show(title)
        self.query_one("#map-legend", Line).show(self._legend(metric))
        self.show_chrome()
        self._show_cell()

    def _legend(self, metric: Metric) -> Text:
        if not self._map.rows:
            return Text(" Reading the index ..." if not self.inspect.model.loaded else " No matrices.", STYLES["dim"])
        # Where there is no line for the title.
        text = Text(f" {metric.title}  " if self.size.height < 24 else " ", no_wrap=True)
        if self._ends:
            low, high = self._ends
            text.append(f"{metric.text(low)} ")
            for shade in ramp(has_colours(self.app))[:: 1 if self.size.width >= 100 else 2]:
                text.append(shade.glyph, Style() + shade.style)
            text.append(f" {metric.text(high)}")
        notes = [f"mean of {self._map.experts} experts"] if self._map.experts > 1 else []
        notes += ["largest of the fine-tunes" if self.size.width >= 80 else "largest"] if self.metric.per_task else []
        text.append("  ".join(["", *notes, "! failed", "· not analysed"]), STYLES["dim"])
        return text

    def _show_cell(self) -> None:
        name, note = self.query_one("#layer-name", Line), self.query_one("#layer-note", Line)
        cell, records = self.grid.cell, self.inspect.model.records
        if not cell:
            name.show(Text())
            note.show(Text())
            return
        index = self._largest(cell)
        mean = self._mean(cell)
        value = f"{self.metric.heading.rstrip('%')} {self.metric.text(mean)}  " if mean is not None else ""
        more = f"largest of {len(cell)} experts: " if len(cell) > 1 else ""
        name.show(
            Text.assemble(" ", (value, "bold cyan"), (more, STYLES["dim"]), name_text(records[index]["name"], "bold"))
        )
        note.show(Text.assemble(" ", note_of(records[index])))
