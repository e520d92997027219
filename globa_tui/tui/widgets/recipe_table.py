"""The seven patterns with their coefficients and the energy they carry."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.edits import Value
from globa_tui.tui.metrics import PATTERN_WORDS, SHORT_WORDS
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.row_table import Column, RowTable
from globa_tui.tui.words import bar, count

NOTHING = Value(0.0, own=True)


class RecipeTable(RowTable):
    """One row per pattern; the bar takes the room that is left."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(self._pattern_cell, id=id)
        self._now: Mapping[str, Value] = {}
        self._was: Mapping[str, Value] = {}
        self._totals: Mapping[str, tuple[int, float]] = {}
        self._whole = True

    @property
    def pattern(self) -> str:
        """Pattern under the cursor."""
        return PATTERNS[self.key or 0]

    def on_resize(self) -> None:
        """Choose the columns that fit."""
        width = self.size.width
        words = [Column("words", "", 36, "left")] if width >= 110 else [Column("words", "", 15, "left")]
        self.set_columns(
            [
                Column("on", "", 3, "left"),
                Column("pattern", "", 2, "left"),
                *(words if width >= 76 else []),
                Column("now", "Coef ", 7),
                Column("was", "Was", 6),
                Column("count", "Entries", 8),
                Column("bar", "Energy", 0, "left"),
                Column("share", "", 6),
            ]
        )
        self.set_rows(range(len(PATTERNS)))

    def show_values(
        self,
        now: Mapping[str, Value],
        was: Mapping[str, Value],
        totals: Mapping[str, tuple[int, float]],
        *,
        whole: bool = True,
    ) -> None:
        """Show coefficients, those of the saved recipe, and what the patterns carry.

        Where the target is not the `whole` model, inherited coefficients are dim and own ones bold with a star.
        """
        if (now, was, totals, whole) != (self._now, self._was, self._totals, self._whole):
            self._now, self._was, self._totals, self._whole = now, was, totals, whole
            self.refresh()

    def _pattern_cell(self, key: int, column: str, width: int) -> Text:
        name = PATTERNS[key]
        now, was = self._now.get(name, NOTHING), self._was.get(name, NOTHING)
        entries, energy = self._totals.get(name, (0, 0.0))
        others = sum(value for pattern, (_, value) in self._totals.items() if pattern != "C1")
        share = energy / others if others and name != "C1" else None
        on = now.mixed or now.number != 0.0
        if column == "on":
            return Text("[~]" if now.mixed else "[x]" if on else "[ ]", "bold green" if on else STYLES["dim"])
        if column == "pattern":
            return Text(name, "bold")
        if column == "words":
            return Text((SHORT_WORDS if width < 34 else PATTERN_WORDS)[name], STYLES["dim"])
        if column == "now":
            return self._coefficient(now)
        if column == "was":
            same = (now.number, now.mixed) == (was.number, was.mixed)
            return Text("" if same else _number(was), "yellow")
        if column == "count":
            return Text(count(entries) if entries else "-")
        if column == "bar":
            return Text(bar(1.0 if name == "C1" and energy else share, width), "cyan" if on else "dim cyan")
        return Text("FT1" if name == "C1" else f"{100 * share:.1f}%" if share is not None else "-")

    def _coefficient(self, value: Value) -> Text:
        text = _number(value, "+")
        if self._whole:
            return Text(f"{text} ", "bold" if value.number else STYLES["dim"])
        return Text(f"{text}*", "bold") if value.own else Text(f"{text} ", STYLES["dim"])


def _number(value: Value, sign: str = "") -> str:
    if value.mixed:
        return "mixed"
    return f"{value.number:{sign}.2f}" if value.number else "0.00"
