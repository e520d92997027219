"""What a merged model, of any method or program, does to each of the fine-tunes it was made of (AlignMerge)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from analysis.merged_alignment import merged_alignment
from analysis.product import Product
from globa_tui.aggregate import summed_alignment
from globa_tui.jobs.check import recorded_sources
from globa_tui.jobs.pair_records import merged_scalars
from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sources import open_index
from globa_tui.jobs.weights import LayerWeights, working_dtype
from store.checkpoints import Layer, TensorReader, open_checkpoint


def output_alignment(out: Path, against: tuple[str, ...] = ()) -> dict[str, Any]:
    """Full coefficients of a merged model in its leading directions, matrix by matrix.

    Parameters
    ----------
    out
        The merged model.
    against
        Base and fine-tunes it was made of; empty means those that its ``globa_recipe.yaml`` names.

    Returns
    -------
    `layers`: per matrix what ``sum`` is in docs/store.md, of ``W_merged − W0`` instead of the sum. `model`: their
    means, weighted with the energy of the directions.

    Raises
    ------
    SettingsError
        When the sources are not known.
    CheckpointError
        When a model cannot be read.

    Notes
    -----
    One matrix at a time; a block Krylov iteration and a few products for each.
    """
    merged = open_checkpoint(str(out))
    sources, vocab = (against, "base") if against else recorded_sources(out)
    if not sources:
        msg = f"{out}: its sources are not known here; name them with --against BASE FT1 FT2"
        raise SettingsError(msg)
    index = open_index(sources[0], sources[1:], vocab=vocab)
    index.require_mergeable()
    layers = []
    with TensorReader(merged) as reader, LayerWeights(index, torch.device("cpu")) as weights:
        for layer in index.layers:
            there = merged.tensors.get(layer.tensor)
            if layer.role == "matrix" and not layer.tied_to and there is not None:
                known = {"name": layer.name, "kind": layer.kind, "block": layer.block}
                layers.append({**known, **_alignment(reader, layer, weights)})
    means = summed_alignment([{"sum": layer} for layer in layers], len(sources) - 1)
    return {"layers": layers, "model": means}


def _alignment(reader: TensorReader, layer: Layer, weights: LayerWeights) -> dict[str, Any]:
    base, models = weights.read(layer)
    entries, dtype = math.prod(layer.shape), working_dtype(layer.dtype)
    start = (layer.part or 0) * entries
    result = reader.read_flat(layer.tensor, start, start + entries).view(layer.shape).to(dtype)
    found = merged_alignment(result.sub_(base.to(dtype)), _task_vectors(base, models, dtype))
    return merged_scalars(found)


def _task_vectors(
    base: torch.Tensor, models: Sequence[torch.Tensor | Product | None], dtype: torch.dtype
) -> Iterator[torch.Tensor | Product]:
    for model in models:
        if isinstance(model, Product):
            yield model
        else:
            yield (base if model is None else model).to(dtype) - base.to(dtype)
