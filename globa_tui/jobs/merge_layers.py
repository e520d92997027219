"""What merges the tensors of a checkpoint by a recipe, and the memory that takes."""

from __future__ import annotations

import math

import torch

from analysis.merge import BLOCK, Preparation
from globa_tui.jobs.globa_merger import GlobaMerger
from globa_tui.jobs.layer_merger import LayerMerger, Way
from globa_tui.jobs.method_merger import MethodMerger
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.jobs.sources import sources_of
from globa_tui.jobs.weights import PIECE
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer
from store.checkpoints.dtypes import BITS
from store.run import Run


def make_merger(
    recipe: Recipe, index: Index, run: Run | None, device: torch.device, prepared: Preparation | None = None
) -> LayerMerger:
    """The merger that a recipe asks for; `prepared` is what another one found in its passes."""
    if recipe.method != "globa":
        return MethodMerger(recipe, index, prepared)
    stored = run.manifest["settings"] if run is not None else recipe.settings
    tasks = len(sources_of(run.manifest)[1]) if run is not None else len(index.fine_tuned)
    return GlobaMerger(recipe, index, run, AnalysisSettings.from_dict(stored).for_tasks(tasks), device)


def layer_memory(way: Way, layer: Layer, tasks: int) -> int:
    """Bytes that merging one layer takes besides its result, estimated."""
    entries = math.prod(layer.shape)
    square = min(layer.shape, default=0) ** 2
    # One piece in the type of the files is worked on, and one read ahead.
    pieces = 2 * min(entries, PIECE) * (tasks + 1) * BITS[layer.dtype] // 8
    match way:
        case Way.PARTS:
            return 4 * min(entries, BLOCK) * (tasks + 6) + pieces
        case Way.ROWS:
            # Measured, in matrices of float64; for more than two tasks mostly LAPACK's, of all their products together.
            matrices = 13 if tasks == 2 else 3 * tasks**2 + 5 * tasks
            return 8 * matrices * square + 8 * pieces
        case Way.WHOLE:
            # A Gram matrix in float64, LAPACK's twice as much, and what is made of the vectors.
            return 4 * entries * (tasks + 3) + 8 * 8 * min(entries, square)
