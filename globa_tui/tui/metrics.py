"""The registry of numbers that the interface shows for a layer: adding one here adds it everywhere.

Tables, sorting, the layer page and its explanations all read `METRICS`; nothing else knows a record's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from globa_tui.coefficients import PATTERNS

Record = Mapping[str, Any]
Values = tuple[float | None, ...]

SHORT_WORDS: Mapping[str, str] = {
    "C1": "first fine-tune",
    "A": "orthogonal",
    "B": "shares column",
    "C": "shares row",
    "D+": "same sign",
    "D-": "opposite sign",
    "E": "structural hole",
}
TYPES = PATTERNS[1:]
"""The six overlap types, without the first task's own matrix."""

PATTERN_WORDS: Mapping[str, str] = {
    "C1": "first fine-tune",
    "A": "orthogonal: new rows and columns",
    "B": "shares its column only",
    "C": "shares its row only",
    "D+": "same place, same sign",
    "D-": "same place, opposite sign",
    "E": "a hole between shared lines",
}


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

    def value(self, record: Record) -> float | None:
        """The number that a table shows and sorts by: the largest over the fine-tunes."""
        known = [value for value in self.values(record) if value is not None]
        return max(known) if known else None

    def cell(self, record: Record) -> str:
        """The number as text, or a dash when the layer has none."""
        value = self.value(record)
        return "-" if value is None else self.format(value)


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


def _path(*keys: str) -> Callable[[Record], Values]:
    def read(record: Record) -> Values:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return tuple(value) or (None,) if isinstance(value, list) else (value,)

    return read


def share_of(pattern: str) -> Callable[[Record], Values]:
    """Share of the energy in the six types that one of them has."""

    def read(record: Record) -> Values:
        cells = record.get("patterns")
        if not cells:
            return (None,)
        total = sum(cells[name]["energy"] for name in TYPES if name in cells)
        return (cells[pattern]["energy"] / total,) if total > 0 and pattern in cells else (None,)

    return read


def _known(values: Iterable[Any]) -> list[float]:
    return [value for value in values if isinstance(value, int | float)]


def _overlap(record: Record) -> Values:
    sides = record.get("orthogonality") or {}
    known = _known(sides.get(side) for side in ("left", "right"))
    return (sum(known) / len(known),) if known else (None,)


def _clustered(record: Record) -> Values:
    sides, effect = record.get("clusters") or {}, record.get("effect") or {}
    whole = sum(_known(effect.get("task_energy") or ()))
    found = _known(sides[side].get("energy") for side in sides)
    return (max(found) / whole,) if found and whole > 0 else (None,)


def _knee(record: Record) -> Values:
    points = record.get("knee") or []
    return tuple(point.get("energy") for point in points) or (None,)


def _rank_at(energy: str) -> Callable[[Record], Values]:
    return _path("rank_at", energy)


METRICS: tuple[Metric, ...] = (
    Metric(
        "size",
        "Size%",
        "relative size",
        "‖τ‖ / ‖W0‖ in %: how far it moved",
        _path("relative_size"),
        percent,
        per_task=True,
    ),
    Metric(
        "overlap",
        "Ovlp",
        "subspace overlap",
        "‖U1ᵀU2‖²/min k: 0 apart, 1 contained",
        _overlap,
        decimal,
    ),
    *(
        Metric(
            f"share.{name}",
            f"{name}%",
            f"type {name}",
            f"share of the six types' energy in {name}, in %: {PATTERN_WORDS[name]}",
            share_of(name),
            percent,
            show="table",
        )
        for name in TYPES
    ),
    Metric(
        "overlap.left",
        "OvL",
        "overlap, outputs",
        "of the output directions (left)",
        _path("orthogonality", "left"),
        decimal,
        show="layer",
    ),
    Metric(
        "overlap.right",
        "OvR",
        "overlap, inputs",
        "of the input directions (right)",
        _path("orthogonality", "right"),
        decimal,
        show="layer",
    ),
    Metric(
        "rank",
        "Rank",
        "rank kept",
        "directions of τ under the energy limit",
        _path("rank"),
        whole,
        per_task=True,
    ),
    Metric(
        "basis_rank",
        "Basis",
        "basis rank",
        "of the shared basis: outputs, inputs",
        _path("basis_rank"),
        whole,
        show="layer",
    ),
    Metric(
        "stable_rank",
        "StRk",
        "stable rank",
        "‖τ‖² / σ1²: 1 when one direction has all",
        _path("stable_rank"),
        general,
        per_task=True,
        show="layer",
    ),
    Metric(
        "effective_rank",
        "EfRk",
        "effective rank",
        "exp of the entropy of the energies",
        _path("effective_rank"),
        general,
        per_task=True,
        show="layer",
    ),
    Metric(
        "rank90",
        "R90",
        "rank at 90 %",
        "directions with 90 % of ‖τ‖²",
        _rank_at("0.9"),
        whole,
        per_task=True,
        show="layer",
    ),
    Metric(
        "rank99",
        "R99",
        "rank at 99 %",
        "directions with 99 % of ‖τ‖²",
        _rank_at("0.99"),
        whole,
        per_task=True,
        show="layer",
    ),
    Metric(
        "knee",
        "Knee%",
        "knee of the curve",
        "energy in % at its knee: an η to try",
        _knee,
        percent,
        per_task=True,
        show="layer",
    ),
    Metric(
        "retained",
        "Kept%",
        "kept by pruning",
        "energy in % that pruning left of τ",
        _path("retained"),
        percent,
        per_task=True,
        show="layer",
    ),
    Metric(
        "blocks.both",
        "Both%",
        "in both spaces",
        "% of ‖τ2‖², inputs and outputs shared",
        _path("blocks", "both"),
        percent,
        show="layer",
    ),
    Metric(
        "blocks.none",
        "None%",
        "in neither space",
        "% of ‖τ2‖², orthogonal to τ1 twice",
        _path("blocks", "none"),
        percent,
        show="layer",
    ),
    Metric(
        "clustered",
        "Clus%",
        "in clusters",
        "energy in % with no unique basis",
        _clustered,
        percent,
    ),
    Metric("seconds", "Secs", "time", "seconds that the analysis took", _path("seconds"), seconds),
)

BY_KEY: Mapping[str, Metric] = {metric.key: metric for metric in METRICS}


def sortable(keys: Iterable[str]) -> tuple[Metric, ...]:
    """Metrics of the given table columns that are numbers to sort by."""
    return tuple(BY_KEY[key] for key in keys if key in BY_KEY)
