"""One layer: its numbers with their meaning, its patterns, spectra and principal angles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.widget import Widget

from globa_tui.diagnostics import printable
from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.columns import Record
from globa_tui.tui.curves import Curve
from globa_tui.tui.failure import failure_text
from globa_tui.tui.ink import has_colours
from globa_tui.tui.messages import Answer, LayerRead, LogRead
from globa_tui.tui.metric import general, percent
from globa_tui.tui.metrics import METRICS, SHORT_WORDS, TYPES
from globa_tui.tui.pair_texts import highest, ranks_text, similarity_text, types_text
from globa_tui.tui.pictures import PairPicture
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.screens.layers import note_of
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.line import Line
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.widgets.picture import Picture, PictureSpec
from globa_tui.tui.widgets.plot import Plot, PlotSpec, Series
from globa_tui.tui.words import bar, count, name_text

PANES = (
    ("numbers", "Numbers"),
    ("patterns", "Patterns"),
    ("spectrum", "Spectrum"),
    ("energy", "Energy"),
    ("types", "Types"),
    ("angles", "Angles"),
    ("alignment", "Alignment"),
)
FIRST_PAGE = frozenset({"numbers", "patterns", "spectrum", "energy"})
"""Panes that a large terminal shows together; the others are its second page."""
STEPS = 9


class LayerScreen(InspectScreen):
    """Everything about one layer; one pane at a time on a small terminal, all at once on a large one.

    Parameters
    ----------
    mode : str
        Tab that it is opened from.
    """

    ABOUT = "layer"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("layer",)
    BINDINGS = bindings("layer")

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.index = 0
        self.MODE = mode  # type: ignore[misc]
        self._pane = "numbers"
        self._read = False
        """Whether the arrays of the layer came."""
        self._curves: Sequence[Curve] = ()
        self._pairs: Sequence[PairPicture] = ()
        self._pair = 0

    def compose_body(self) -> ComposeResult:
        yield Line(id="layer-title")
        yield Line(id="layer-facts")
        yield Line(id="pane-tabs")
        with Container(id="panes"):
            with VerticalScroll(id="numbers", classes="pane"):
                yield Pane(id="numbers-text")
            with VerticalScroll(id="patterns", classes="pane"):
                yield Pane(id="patterns-text")
            yield Container(Plot(id="spectrum-plot"), id="spectrum", classes="pane")
            yield Container(Plot(id="energy-plot"), id="energy", classes="pane")
            with Vertical(id="types", classes="pane"):
                yield Picture(id="types-picture")
                yield Pane(id="types-text")
            with VerticalScroll(id="angles", classes="pane"):
                yield Pane(id="angles-text")
            with Horizontal(id="alignment", classes="pane"):
                with VerticalScroll(id="alignment-ranks"):
                    yield Pane(id="alignment-text")
                with Vertical(id="alignment-grid"):
                    yield Pane(id="similarity-text")
                    yield Picture(id="similarity-picture")

    def on_mount(self) -> None:
        """Ask for the arrays of the layer."""
        self._show_pane()

    @property
    def _now(self) -> tuple[object, ...]:
        return (self.index, self.is_current, *super()._now)

    def turn_to(self, index: int) -> None:
        """Show another layer."""
        if index != self.index:
            self.index = index
            self._read, self._curves, self._pairs = False, (), ()
            if self.is_current:
                self._show_anew()

    def on_screen_suspend(self) -> None:
        """Stop reading the log."""
        self.inspect.disk.follow_log(None)

    @property
    def record(self) -> Record:
        """The layer's record."""
        return self.inspect.model.records[self.index]

    def show_all(self) -> None:
        if self.index >= len(self.inspect.model.records):
            return
        record = self.record
        self.query_one("#layer-title", Line).show(Text.assemble(" ", name_text(record["name"], "bold")))
        self.query_one("#layer-facts", Line).show(
            Text.assemble(" ", note_of(record), self.inspect.own_words(self.index))
        )
        self._show_numbers()
        narrow = self.size.width >= 120 and self.size.height >= 36
        self.query_one("#patterns-text", Pane).show(patterns_text(record, 9 if narrow else 24, words=not narrow))
        self.query_one("#angles-text", Pane).show(angles_text(record, 10 if narrow else 26))
        self._show_curves()
        self._show_pair()
        if self.is_current:
            self.inspect.disk.read_layer(self.index)

    def show_records(self, changed: Collection[int]) -> None:
        if self.index in changed:
            self.show_all()

    def show_answer(self, answer: Answer) -> None:
        if isinstance(answer, LogRead):
            self._show_numbers()
        elif isinstance(answer, LayerRead) and answer.index == self.index:
            self._read, self._curves, self._pairs = True, answer.curves, answer.pairs
            self._show_curves()
            self._show_pair()

    def rows_shown(self) -> Sequence[int]:
        return [self.index]

    def action_step(self, by: int) -> None:
        """Go to the next layer in the order of the table."""
        order = self.inspect.order
        place = order.index(self.index) if self.index in order else 0
        place = min(max(place + by, 0), len(order) - 1)
        if order and order[place] != self.index:
            self.turn_to(order[place])

    def action_pane(self, by: int) -> None:
        """Go to the next pane."""
        names = [name for name, _ in PANES]
        self._pane = names[(names.index(self._pane) + by) % len(names)]
        self._show_pane()

    def action_scroll(self, by: int) -> None:
        """Scroll the pane."""
        name = {"alignment": "alignment-ranks"}.get(self._pane, self._pane)
        self.query_one(f"#{name}").scroll_relative(y=by, animate=False)

    def action_pair(self) -> None:
        """Show the pair with the next fine-tune."""
        if len(self._pairs) < 2:
            self.notify("There is one pair only.", markup=False)
            return
        self._pair += 1
        self._show_pair()

    def _show_numbers(self) -> None:
        record, failed = self.record, self.record.get("status") == "failed"
        if self.is_current:
            self.inspect.disk.follow_log("analyze" if failed else None)
        logs = self.inspect.logs
        text = (
            failure_text(record, logs.get("analyze", "")) if failed else numbers_text(record, self.inspect.model.tasks)
        )
        self.query_one("#numbers-text", Pane).show(text)

    def _show_pane(self) -> None:
        for name, title in PANES:
            pane = self.query_one(f"#{name}", Widget)
            pane.set_class(name == self._pane, "current")
            pane.set_class((name in FIRST_PAGE) == (self._pane in FIRST_PAGE), "on-page")
            pane.border_title = title
        text = Text(" ")
        for name, title in PANES:
            text.append(f" {title} ", "reverse" if name == self._pane else STYLES["dim"])
        self.query_one("#pane-tabs", Line).show(text)
        self._show_curves()

    def _show_curves(self) -> None:
        if not self._curves:
            said = "no singular values are stored for this layer" if self._read else "reading ..."
            for plot in self.query(Plot):
                plot.show(PlotSpec(said, "rank", ()))
            return
        tasks = range(len(self._curves))
        spectra = tuple(Series(f"τ{task + 1}", self._curves[task].rank, self._curves[task].sigma) for task in tasks)
        energy = tuple(Series(f"τ{task + 1}", self._curves[task].rank, self._curves[task].energy) for task in tasks)
        self.query_one("#spectrum-plot", Plot).show(
            PlotSpec("singular value by rank (log)", "rank", spectra, log_y=True)
        )
        self.query_one("#energy-plot", Plot).show(
            PlotSpec("share of energy in the first r directions", "rank r", energy, y_limits=(0.0, 1.0))
        )

    def _show_pair(self) -> None:
        found = self._pairs[self._pair % len(self._pairs)] if self._pairs else PairPicture(0)
        colours = has_colours(self.app)
        self.query_one("#types-picture", Picture).show(PictureSpec(found.types))
        self.query_one("#types-text", Pane).show(types_text(found, colours))
        ranks = found.similarity
        self.query_one("#alignment-text", Pane).show(ranks_text(found))
        self.query_one("#similarity-text", Pane).show(similarity_text(found, colours))
        self.query_one("#similarity-picture", Picture).show(PictureSpec(ranks, highest(ranks)))


def numbers_text(record: Record, tasks: int) -> Text:
    """Every metric of the registry with its values and its meaning."""
    text = Text()
    text.append(f"{'':<18}{'τ1':>7}{'τ2':>7}\n" if tasks == 2 else f"{'':<18}{'by fine-tune':>14}\n", STYLES["dim"])
    for metric in METRICS:
        if metric.show == "table":
            continue
        values = ["-" if value is None else metric.format(value) for value in metric.values(record)]
        _number_line(text, metric.title, values, metric.meaning)
    base = (record.get("norm") or {}).get("base")
    if base is not None:
        _number_line(text, "norm of W0", [general(base)], "Frobenius norm of the base weight")
    return text


def _number_line(text: Text, title: str, values: list[str], meaning: str) -> None:
    text.append(f"{title:<18}")
    text.append(f"{''.join(f'{value:>7}' for value in values):<14}", "bold")
    text.append(f"  {meaning}\n", STYLES["dim"])


def patterns_text(record: Record, width: int, *, words: bool = True) -> Text:
    """Count and energy of every pattern of the layer, with bars of that many cells."""
    cells = record.get("patterns")
    if not cells:
        return Text("No patterns for this layer.", STYLES["dim"])
    total = sum(cells[name]["energy"] for name in TYPES)
    text = Text()
    text.append(f"{'':<3}{'entries':>8} {'energy':>8} {'share':>6}\n", STYLES["dim"])
    for name in ("C1", *TYPES):
        share = cells[name]["energy"] / total if total and name != "C1" else None
        text.append(f"{name:<3}", "bold")
        text.append(f"{count(cells[name]['count']):>8} {general(cells[name]['energy']):>8} ")
        text.append(f"{percent(share):>5}% " if share is not None else " " * 7)
        text.append(bar(share, width), "cyan")
        text.append(f" {SHORT_WORDS[name]}\n" if words else "\n", STYLES["dim"])
    text.append("\nenergy: sum of squares of the entries\nshare: of the six types together\n", STYLES["dim"])
    for key, value in (record.get("inner") or {}).items():
        if isinstance(value, int | float):
            text.append(f"inner product {printable(key)} {general(value)}\n", STYLES["dim"])
    return text


def angles_text(record: Record, width: int) -> Text:
    """Histogram of the principal angles between the two output spaces and the two input spaces."""
    angles = record.get("angles") or {}
    left, right = angles.get("left") or [], angles.get("right") or []
    if not left and not right:
        return Text("No principal angles for this layer.", STYLES["dim"])
    most = max([*left, *right, 1])
    text = Text()
    text.append(f"{'':<7}{'outputs (left)':<{width + 6}}inputs (right)\n", STYLES["dim"])
    for step in range(STEPS):
        text.append(f"{10 * step:>2}-{10 * step + 10:>2}° ", STYLES["dim"])
        for side, style in ((left, "cyan"), (right, "magenta")):
            value = side[step] if step < len(side) else 0
            text.append(bar(value / most, width), style)
            text.append(f"{value:>5} ")
        text.append("\n")
    text.append("0° is shared, 90° nothing in common\n", STYLES["dim"])
    return text
