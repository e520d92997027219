"""The seven patterns with their coefficients and the energy they carry."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.metrics import PATTERN_WORDS, SHORT_WORDS
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.row_table import Column, RowTable
from globa_tui.tui.words import bar, count


class RecipeTable(RowTable):
    """One row per pattern; the bar takes the room that is left."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(self._pattern_cell, id=id)
        self._now: Mapping[str, float] = {}
        self._was: Mapping[str, float] = {}
        self._totals: Mapping[str, tuple[int, float]] = {}

    @property
    def pattern(self) -> str:
        """Pattern under the cursor."""
        return PATTERNS[self.key or 0]

    def on_resize(self) -> None:
        """Choose the columns that fit."""
        super().on_resize()
        width = self.size.width
        words = [Column("words", "", 36, "left")] if width >= 110 else [Column("words", "", 15, "left")]
        self.set_columns(
            [
                Column("on", "", 3, "left"),
                Column("pattern", "", 2, "left"),
                *(words if width >= 76 else []),
                Column("now", "Coef", 6),
                Column("was", "Was", 6),
                Column("count", "Entries", 8),
                Column("bar", "Energy", 0, "left"),
                Column("share", "", 6),
            ]
        )
        self.set_rows(range(len(PATTERNS)))

    def show_values(
        self, now: Mapping[str, float], was: Mapping[str, float], totals: Mapping[str, tuple[int, float]]
    ) -> None:
        """Show coefficients, those of the saved recipe, and what the patterns carry."""
        if (now, was, totals) != (self._now, self._was, self._totals):
            self._now, self._was, self._totals = dict(now), dict(was), dict(totals)
            self.refresh()

    def _pattern_cell(self, key: int, column: str, width: int) -> Text:
        name = PATTERNS[key]
        now, was = self._now.get(name, 0.0), self._was.get(name, 0.0)
        entries, energy = self._totals.get(name, (0, 0.0))
        others = sum(value for pattern, (_, value) in self._totals.items() if pattern != "C1")
        share = energy / others if others and name != "C1" else None
        if column == "on":
            return Text("[x]" if now else "[ ]", "bold green" if now else STYLES["dim"])
        if column == "pattern":
            return Text(name, "bold")
        if column == "words":
            return Text((SHORT_WORDS if width < 34 else PATTERN_WORDS)[name], STYLES["dim"])
        if column == "now":
            return Text(f"{now:+.2f}" if now else "0.00", "bold" if now else STYLES["dim"])
        if column == "was":
            return Text("" if now == was else f"{was:.2f}", "yellow")
        if column == "count":
            return Text(count(entries) if entries else "-")
        if column == "bar":
            return Text(bar(1.0 if name == "C1" and energy else share, width), "cyan" if now else "dim cyan")
        return Text("FT1" if name == "C1" else f"{100 * share:.1f}%" if share is not None else "-")
