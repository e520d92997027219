"""What a metric is: one number per layer, or one per fine-tune, and how to show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from globa_tui.quantities import quantity
from globa_tui.tui.columns import Lookup, Reader, Record, Values


@dataclass(frozen=True, slots=True)
class Metric:
    """One number per layer (or one per fine-tune), and how to show it."""

    key: str
    heading: str
    """Heading of the table column, at most six cells."""
    title: str
    meaning: str
    """What it says, with its unit and what its ends mean."""
    values: Callable[[Record], Values]
    format: Callable[[float], str]
    per_task: bool = False
    show: Literal["table", "layer", "both"] = "both"
    path: str = ""
    """Where `values` reads in a record, when it does more than follow a path."""

    @property
    def quantity(self) -> str:
        """Lookup of its entry in `globa_tui.quantities`, which has its unit and equation."""
        return self.path or (".".join(self.values.keys) if isinstance(self.values, Lookup) else self.key)

    @property
    def source(self) -> str:
        """Paper and equation; nothing where there is none."""
        found = quantity(self.quantity)
        return found.source if found else ""

    @property
    def short(self) -> str:
        """What a filter calls it."""
        return self.key.removeprefix("share.")

    @property
    def unit(self) -> str:
        """Sign behind the number, where it has one."""
        return "%" if self.format is percent else ""

    @property
    def factor(self) -> float:
        """What the number is multiplied with to be shown."""
        return 100.0 if self.format is percent else 1.0

    def text(self, value: float) -> str:
        """A number with its unit."""
        return self.format(value) + self.unit

    def value(self, record: Record) -> float | None:
        """The number that a table shows and sorts by: the largest over the fine-tunes."""
        known = [value for value in self.values(record) if value is not None]
        return max(known) if known else None

    def cell(self, record: Record) -> str:
        """The number as text, or a dash when the layer has none."""
        value = self.value(record)
        return "-" if value is None else self.format(value)

    def column(self, records: Sequence[Record]) -> list[float | None]:
        """What `value` gives for each of many layers."""
        if isinstance(self.values, Reader):
            return self.values.column(records)
        return [self.value(record) for record in records]


def decimal(value: float) -> str:
    """Two digits after the point without a leading zero, as in `.13`."""
    return f"{value:.2f}".replace("0.", ".", 1) if 0 <= value < 0.995 else f"{value:.2f}"


def percent(value: float) -> str:
    """A share as a percentage with three significant digits at most."""
    scaled = 100 * value
    if 0 < scaled < 0.05:
        return "<0.1"
    return f"{scaled:.0f}" if scaled >= 99.95 else f"{scaled:.1f}"


def whole(value: float) -> str:
    """A count."""
    return f"{value:,.0f}"


def general(value: float) -> str:
    """Any magnitude in at most six cells or so."""
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """A duration in seconds."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
