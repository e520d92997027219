"""The registry of numbers that the interface shows for a layer: adding one here adds it everywhere.

The map, tables, sorting, filters, the layer page and its explanations all read `METRICS`; nothing else knows a record's
keys. Another one is one more entry below, or one call of `register`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, ValuesView
from dataclasses import dataclass
from sys import float_info
from types import MappingProxyType
from typing import Any, Literal

from globa_tui.coefficients import PATTERNS
from globa_tui.quantities import quantity

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
    path: str = ""
    """Where `values` reads in a record, when it does more than follow a path."""

    @property
    def quantity(self) -> str:
        """Path of its entry in `globa_tui.quantities`, which has its unit and equation."""
        return self.path or (".".join(self.values.keys) if isinstance(self.values, _Path) else self.key)

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


@dataclass(frozen=True, slots=True)
class _Path:
    """Reads what lies at a path of a record."""

    keys: tuple[str, ...]

    def __call__(self, record: Record) -> Values:
        value: Any = record
        for key in self.keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        values = value if isinstance(value, list) and value else (value,)
        return tuple(each if isinstance(each, int | float) and abs(each) <= float_info.max else None for each in values)


def _path(*keys: str) -> _Path:
    return _Path(keys)


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
    energies = [point.get("energy") for point in record.get("knee") or []]
    return tuple(energy if isinstance(energy, int | float) else None for energy in energies) or (None,)


_WINDOWS = _path("alignment", "windows")


def _first_window(record: Record) -> Values:
    return _WINDOWS(record)[:1]


_BUILT_IN: tuple[Metric, ...] = (
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
        path="orthogonality.left",
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
            path=f"patterns.{name}",
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
    *(
        Metric(
            f"rank{share}",
            f"R{share}",
            f"rank at {share} %",
            f"directions with {share} % of ‖τ‖²",
            _path("rank_at", energy),
            whole,
            per_task=True,
            show="layer" if share in ("90", "99") else "table",
        )
        for share, energy in (("80", "0.8"), ("90", "0.9"), ("95", "0.95"), ("99", "0.99"))
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
        "blocks.left",
        "Outs%",
        "in outputs only",
        "% of ‖τ2‖², only outputs shared",
        _path("blocks", "left"),
        percent,
        show="layer",
    ),
    Metric(
        "blocks.right",
        "Ins%",
        "in inputs only",
        "% of ‖τ2‖², only inputs shared",
        _path("blocks", "right"),
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
        path="clusters.left.energy",
    ),
    *(
        Metric(
            f"{key}.{side}",
            f"{heading}{side[0].upper()}",
            f"{title}, {words}",
            f"|cos| of {side} vectors{which}",
            _path("alignment", field, side),
            decimal,
            show="layer",
        )
        for key, field, heading, title, which in (
            ("align1", "first", "Al1", "1st align", ", largest σ"),
            ("align", "mean", "Al", "alignment", ", by rank, mean"),
        )
        for side, words in (("left", "outputs"), ("right", "inputs"))
    ),
    Metric(
        "align.top",
        "AlS",
        "S of ranks 1-8",
        "similarity of both spaces: 0 to 16",
        _first_window,
        decimal,
        show="table",
        path="alignment.windows",
    ),
    Metric(
        "sai",
        "SAI",
        "alignment index",
        "of τ1+τ2: >0 amplified, <0 held back",
        _path("sum", "sai"),
        decimal,
        per_task=True,
        show="layer",
    ),
    Metric(
        "sai1",
        "SAI1",
        "index, 1st line",
        "the same in the strongest direction",
        _path("sum", "sai_first"),
        decimal,
        per_task=True,
        show="table",
    ),
    Metric(
        "cosine",
        "Cos",
        "cosine",
        "of the whole task vectors, -1 to 1",
        _path("conflict", "cosine"),
        decimal,
        show="layer",
    ),
    Metric(
        "conflict",
        "Conf",
        "conflict",
        "‖τ1-τ2‖₁/(‖τ1‖₁+‖τ2‖₁): 0 same, 1 apart",
        _path("conflict", "magnitude_change"),
        decimal,
        show="layer",
    ),
    Metric(
        "conflict.sign",
        "Sign%",
        "conflict of signs",
        "entries in % that move in opposite ways",
        _path("conflict", "sign_change"),
        percent,
        show="layer",
    ),
    Metric(
        "conflict.opposed",
        "Oppo",
        "conflict, opposed",
        "the conflict of those entries alone",
        _path("conflict", "conflicting_magnitude_change"),
        decimal,
        show="layer",
    ),
    Metric(
        "conflict.zeros",
        "Zero%",
        "entries not moved",
        "entries in % left as they were",
        _path("conflict", "zeros"),
        percent,
        show="table",
    ),
    Metric(
        "hidden",
        "Hidn%",
        "hidden, apart",
        "after the block: farthest two, % of norm",
        _path("hidden", "apart"),
        percent,
    ),
    Metric(
        "hidden.moved",
        "HMov%",
        "hidden, moved",
        "after the block: from base, % of norm",
        _path("hidden", "moved"),
        percent,
        per_task=True,
    ),
    Metric("seconds", "Secs", "time", "seconds that the analysis took", _path("seconds"), seconds),
)

_REGISTRY: dict[str, Metric] = {}
BY_KEY: Mapping[str, Metric] = MappingProxyType(_REGISTRY)
METRICS: ValuesView[Metric] = _REGISTRY.values()
"""All of them, in the order in which they are shown and cycled."""


def numbers_of(key: str, records: Iterable[Record]) -> list[float | None]:
    """A metric of all these layers."""
    value = _REGISTRY[key].value
    return [value(record) for record in records]


def register(*metrics: Metric) -> None:
    """Add metrics to everything that shows some; a key or a filter's name can be given only once."""
    for metric in metrics:
        taken = {other.short.lower() for other in METRICS}
        if metric.key in _REGISTRY or metric.short.lower() in taken:
            msg = f"there is a metric {metric.short!r} already"
            raise ValueError(msg)
        _REGISTRY[metric.key] = metric


def unregister(key: str) -> None:
    """Take a metric out again."""
    del _REGISTRY[key]


register(*_BUILT_IN)
