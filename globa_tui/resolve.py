"""The coefficients of every layer at once: what `Recipe.resolve` says layer by layer, as one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from globa_tui.coefficients import GROUPS, PATTERNS, Override, Target
from globa_tui.recipe import Recipe

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class LayerIndex:
    """Names, kinds and blocks of a run's layers, ready for finding the layers of a target.

    Parameters
    ----------
    layers : sequence of mapping
        ``name``, ``kind`` and ``block`` of every layer, in the order of the run.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]]) -> None:
        self._size = len(layers)
        self._place: dict[str, int] = {}
        kinds: dict[str, list[int]] = {}
        for place, layer in enumerate(layers):
            self._place.setdefault(str(layer["name"]), place)
            kinds.setdefault(str(layer.get("kind")), []).append(place)
        self._kinds: dict[str, Rows] = {kind: np.array(places, dtype=np.intp) for kind, places in kinds.items()}
        blocks = (layer.get("block") for layer in layers)
        self._block = np.array([block if isinstance(block, int) else -1 for block in blocks], dtype=np.int64)

    def rows(self, target: Target) -> Rows | slice:
        """Places of the layers that belong to a target."""
        if target.scope == "model":
            return slice(None)
        if target.scope == "layer":
            place = self._place.get(target.name)
            return np.array([] if place is None else [place], dtype=np.intp)
        if target.scope == "blocks":
            return np.flatnonzero((self._block >= target.first) & (self._block <= target.last))
        kinds = GROUPS[target.name] if target.scope == "group" else (target.name,)
        found = [self._kinds[kind] for kind in kinds if kind in self._kinds]
        return np.concatenate(found) if found else np.array([], dtype=np.intp)

    def coefficients(self, recipe: Recipe) -> Floats:
        """One row per layer and one column per pattern, nearest wins; a single row when no layer has its own."""
        base = np.array([[float(recipe.coefficients[pattern]) for pattern in PATTERNS]])
        if not recipe.overrides:
            return base
        table = np.repeat(base, self._size, axis=0)
        for override in sorted(recipe.overrides, key=lambda override: override.target.nearness()):
            self._put(table, override)
        return table

    def own(self, recipe: Recipe) -> NDArray[np.bool_]:
        """Which layers a part of the recipe other than the model's coefficients holds for."""
        mask: NDArray[np.bool_] = np.zeros(self._size, dtype=np.bool_)
        for override in recipe.overrides:
            mask[self.rows(override.target)] = True
        return mask

    def _put(self, table: Floats, override: Override) -> None:
        if override.target.scope == "layer":
            place = self._place.get(override.target.name)
            if place is not None:
                for pattern, value in override.values.items():
                    table[place, PATTERNS.index(pattern)] = value
            return
        rows = self.rows(override.target)
        for pattern, value in override.values.items():
            table[rows, PATTERNS.index(pattern)] = value
