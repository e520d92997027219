"""A look at the first matrices, to see whether the fine-tunes are of this base at all."""

from __future__ import annotations

from typing import Any

import torch

from analysis.relatedness import relatedness
from store.checkpoints import Index, Layer, TensorReader

SAMPLED_TENSORS = 8
SAMPLED_VALUES = 1 << 19
"""Values of each of them, at most; all are widened to float64 and held at once."""
LEAST_COSINE = 0.5
LARGEST_CHANGE = 1.0


def unrelated_warnings(index: Index) -> list[dict[str, Any]]:
    """Warnings about fine-tunes whose weights do not look like this base's, from a sample of the first matrices.

    A cosine of the weights below 0.5 or a change larger than the weights themselves is what another base, or another
    initialisation, looks like; fine-tuning moves weights by a few per cent.
    """
    tables = index.vocabulary.tensors if index.vocabulary else frozenset[str]()
    whole = (layer for layer in index.layers if layer.part is None and layer.name not in tables)
    layers = [layer for layer in whole if layer.role == "matrix"][:SAMPLED_TENSORS]
    warnings = []
    with TensorReader(index.base) as base:
        for number, checkpoint in enumerate(index.fine_tuned):
            if checkpoint.adapter:
                continue
            with TensorReader(checkpoint) as fine_tuned:
                warning = _compare(base, fine_tuned, layers, number)
            if warning:
                warnings.append(warning)
    return warnings


def _compare(base: TensorReader, fine_tuned: TensorReader, layers: list[Layer], number: int) -> dict[str, Any] | None:
    first, second = [], []
    for layer in layers:
        name = layer.fine_tuned[number]
        if name is None or 0 in layer.shape:
            continue
        rows = min(layer.shape[0], max(1, SAMPLED_VALUES // layer.shape[1]))
        first.append(base.read_rows(layer.name, 0, rows).double().flatten())
        second.append(fine_tuned.read_rows(name, 0, rows).double().flatten())
    if not first:
        return None
    found = relatedness(torch.cat(first), torch.cat(second))
    if found.cosine >= LEAST_COSINE and found.change <= LARGEST_CHANGE:
        return None
    return {
        "severity": "warning",
        "code": "unrelated",
        "message": (
            f"ft{number + 1} does not look like a fine-tune of this base: over the first {len(first)} matrices the "
            f"cosine of the weights is {found.cosine:.2f} (expected at least {LEAST_COSINE}) and the change is "
            f"{found.change:.2f} times the weights (expected at most {LARGEST_CHANGE:g}); check that the base is right"
        ),
        "tensor": None,
    }
