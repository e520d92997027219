"""How much disk an analysis can take, from shapes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
    chosen = [layer for layer in chosen if not include or any(p.search(layer["name"]) for p in include)]
    return [layer for layer in chosen if not any(p.search(layer["name"]) for p in exclude)]


def most_factor_bytes(layers: Iterable[Mapping[str, Any]], settings: AnalysisSettings) -> int:
    """The most bytes that the stored factors can take: full ranks, no two alike, energy spread evenly.

    The entries that reach η of an energy are at most η of all entries. Real fine-tunes take less, low-rank ones far
    less; how much less is known only after the decompositions. `settings` hold one η per fine-tune.
    """
    total = 0.0
    for layer in layers:
        rows, cols = layer["shape"]
        tasks = len(settings.eta)
        rank = min(rows, cols)
        left, right = min(rows, tasks * rank), min(cols, tasks * rank)
        wide = 8 if settings.precision == "float64" else 4
        width = 2 if layer["dtype"] in SIXTEEN_BITS and wide == 4 else wide
        total += width * (rows * left + cols * right) + sum(settings.eta) * left * right * (_CORE_ENTRY - 4 + wide)
    return int(total)
