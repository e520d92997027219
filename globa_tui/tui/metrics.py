"""The registry of numbers that the interface shows for a layer: adding one here adds it everywhere.

The map, tables, sorting, filters, the layer page and its explanations all read `METRICS`; nothing else knows a record's
keys. Another one is one more entry below, or one call of `register`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from types import MappingProxyType

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.columns import Lookup, Record, Several, Single, largest, number
from globa_tui.tui.metric import Metric, decimal, general, percent, seconds, whole

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


def _path(*keys: str) -> Lookup:
    return Lookup(keys)


def _share_of(pattern: str) -> Single:
    """Share of the energy in the six types that one of them has."""

    def share(record: Record) -> float | None:
        cells = record.get("patterns")
        if not cells or pattern not in cells:
            return None
        total = sum([cells[name]["energy"] for name in TYPES if name in cells])
        return cells[pattern]["energy"] / total if total > 0 else None

    return Single(share)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _overlap(record: Record) -> float | None:
    sides = record.get("orthogonality") or {}
    known = _known(map(number, (sides.get("left"), sides.get("right"))))
    return sum(known) / len(known) if known else None


def _clustered(record: Record) -> float | None:
    sides, effect = record.get("clusters"), record.get("effect")
    if not isinstance(sides, dict) or not isinstance(effect, dict):
        return None
    energies = effect.get("task_energy")
    whole = sum(_known(map(number, energies))) if isinstance(energies, list) else 0.0
    found = largest([number(side.get("energy")) for side in sides.values() if isinstance(side, dict)])
    return found / whole if found is not None and whole > 0 else None


def _knee(record: Record) -> Iterator[float | None]:
    return (number(point.get("energy")) for point in record.get("knee") or () if isinstance(point, dict))


_WINDOWS = _path("alignment", "windows")


def _first_window(record: Record) -> float | None:
    return _WINDOWS(record)[0]


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
        Single(_overlap),
        decimal,
        path="orthogonality.left",
    ),
    *(
        Metric(
            f"share.{name}",
            f"{name}%",
            f"type {name}",
            f"share of the six types' energy in {name}, in %: {PATTERN_WORDS[name]}",
            _share_of(name),
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
        Several(_knee),
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
        Single(_clustered),
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
        Single(_first_window),
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


def numbers_of(key: str, records: Sequence[Record]) -> list[float | None]:
    """A metric of all these layers."""
    return _REGISTRY[key].column(records)


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
