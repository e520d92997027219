"""A model in memory that becomes the result of any merge method."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from globa_tui.jobs.layer_values import LayerValues, joined
from globa_tui.jobs.method_merger import MethodMerger
from globa_tui.jobs.sweep.model import SweepModel
from globa_tui.jobs.weights import LayerWeights
from globa_tui.recipe import Recipe
from store.checkpoints import Index
from store.checkpoints.dtypes import FLOATING


def show_method(model: SweepModel, index: Index, recipe: Recipe, device: torch.device) -> None:
    """Become what a recipe of another method than GLOBA makes of the checkpoints."""
    merger = MethodMerger(recipe, index)
    for _ in range(merger.passes):
        for values in layer_values(index, device):
            merger.see(values)
        merger.end_pass()

    def merged(values: LayerValues) -> torch.Tensor:
        ranges = ((part.first, part.values) for part in merger.merge(values))
        return joined(ranges, math.prod(values.layer.shape))

    model.show_with(merged)


def layer_values(index: Index, device: torch.device) -> Iterator[LayerValues]:
    """Every floating tensor of the checkpoints once; one that is tied to another is not counted twice."""
    with LayerWeights(index, device) as weights:
        for layer in index.layers:
            if layer.tied_to is None and layer.dtype in FLOATING:
                yield LayerValues(layer, index, weights, allow_failed=False)
