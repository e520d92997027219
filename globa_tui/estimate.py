"""How much disk an analysis can take, from shapes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from statistics import NormalDist
from typing import Any

from globa_tui.jobs.settings import AnalysisSettings

_CORE_ENTRY = 8
"""Bytes of one kept entry of an interaction matrix: row, column and value."""
SIXTEEN_BITS = frozenset({"BF16", "F16", "F8_E4M3", "F8_E5M2"})
"""Safetensors codes of weights whose factors are kept in 16 bits."""


def analysed(layers: Iterable[Mapping[str, Any]], settings: AnalysisSettings) -> list[Mapping[str, Any]]:
    """The layers that an analysis with these settings looks at."""
    include = [re.compile(pattern) for pattern in settings.include]
    exclude = [re.compile(pattern) for pattern in settings.exclude]
    chosen = [layer for layer in layers if layer["role"] == "matrix" and not layer.get("tied_to")]
    chosen = [layer for layer in chosen if any(name is not None for name in layer.get("fine_tuned", ("",)))]
    chosen = [layer for layer in chosen if not include or any(p.search(layer["name"]) for p in include)]
    return [layer for layer in chosen if not any(p.search(layer["name"]) for p in exclude)]


def most_factor_bytes(layers: Iterable[Mapping[str, Any]], settings: AnalysisSettings) -> int:
    """The disk that the stored factors take in the worst realistic case: full ranks, no two alike, Gaussian matrices.

    Real fine-tunes take less (half of it on the demo family), low-rank ones far less; how much less is known only
    after the decompositions. `settings` hold one η per fine-tune.
    """
    total = 0.0
    shares = sum(_kept_share(eta) for eta in settings.eta)
    for layer in layers:
        rows, cols = layer["shape"]
        total_rank = sum(_most_ranks(layer, len(settings.eta)))
        left, right = min(rows, total_rank), min(cols, total_rank)
        wide = 8 if settings.precision == "float64" else 4
        width = 2 if layer["dtype"] in SIXTEEN_BITS and wide == 4 else wide
        total += width * (rows * left + cols * right) + shares * left * right * (_CORE_ENTRY - 4 + wide)
    return int(total)


def _most_ranks(layer: Mapping[str, Any], tasks: int) -> list[int]:
    """The rank that each task vector can have: that of an adapter's factors, 0 where there is no change."""
    side = min(layer["shape"])
    ranks = layer.get("ranks") or (None,) * tasks
    names = layer.get("fine_tuned") or ("",) * tasks
    bounds = (side if rank is None else min(side, rank) for rank in ranks)
    return [0 if name is None else bound for bound, name in zip(bounds, names, strict=True)]


@cache
def _kept_share(eta: float) -> float:
    """Share of the entries of a Gaussian matrix that hold η of its energy: |x| > t with 2 (t φ(t) + Q(t)) = η."""
    normal = NormalDist()
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        energy = 2 * (middle * normal.pdf(middle) + 1 - normal.cdf(middle))
        low, high = (middle, high) if energy > eta else (low, middle)
    return 2 * (1 - normal.cdf(low))
