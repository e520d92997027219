"""The few settings of every method that a comparison tries. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from globa_tui.values import param_text

_SCALES = ({"scale": 0.6}, {"scale": 0.8}, {"scale": 0.4}, {"scale": 1.3}, {"scale": 0.5}, {"scale": 0.7})

GRIDS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "linear": ({"weight": [0.7, 0.3]}, {"weight": [0.3, 0.7]}, {"weight": [0.6, 0.4]}, {"weight": [0.4, 0.6]}),
    "task_arithmetic": _SCALES,
    "ties": (
        {"density": 0.5},
        {"density": 0.5, "scale": 0.7},
        {"scale": 1.5},
        {"density": 0.8, "scale": 0.8},
        {"density": 0.8},
        {"scale": 0.7},
    ),
    "dare_linear": ({"scale": 0.6}, {"density": 0.5}, {"density": 0.5, "scale": 0.6}, {"scale": 0.8}, {"scale": 0.4}),
    "dare_ties": ({"trim_density": 0.5}, {"trim_density": 0.8}, {"scale": 0.7}, {"trim_density": 0.8, "scale": 0.8}),
    "slerp": ({"t": 0.3}, {"t": 0.7}, {"t": 0.4}, {"t": 0.6}),
    "tsv_m": _SCALES,
    "iso_c": _SCALES,
    "iso_cts": _SCALES,
    "alignmerge_o": _SCALES,
    "alignmerge_b": ({"alpha": 0.3}, {"alpha": 1.0}, {"base_method": "ties"}, {"ratio": "exact"}, {"alpha": 0.8}),
}
"""In the order in which they are tried, after the defaults; a small budget takes the first ones."""


@dataclass(frozen=True)
class Entry:
    """A method with parameters; without any at its defaults."""

    method: str
    params: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Parameters as on the command line."""
        return " ".join(f"{name}={param_text(value)}" for name, value in self.params) or "defaults"


def entries(method: str, budget: int, tasks: int) -> list[Entry]:
    """At most `budget` settings of a method, the defaults first; none of a method for another number of models."""
    if method == "slerp" and tasks != 2:
        return []
    chosen = [Entry(method)]
    for params in GRIDS.get(method, ()):
        fits = all(not isinstance(value, list) or len(value) == tasks for value in params.values())
        if fits:
            chosen.append(Entry(method, tuple(params.items())))
    return chosen[:budget]
