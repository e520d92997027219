"""The weights of one layer, as the mathematics takes them: tensors, products of factors, or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType

import torch

from analysis.product import Product
from store.checkpoints import Factors, Index, IndexReader, Layer

Model = torch.Tensor | Product | None
"""What a fine-tune has: a weight, a task vector given by factors, or None where it leaves the base's."""
Models = Sequence[Model]


class LayerWeights:
    """Reads layer after layer of an index to a device."""

    def __init__(self, index: Index, device: torch.device) -> None:
        self._reader, self._device = IndexReader(index), device

    def __enter__(self) -> LayerWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def read(self, layer: Layer) -> tuple[torch.Tensor, list[Model]]:
        """The base's tensor, and what every fine-tune has in its place."""
        base, models = self._reader.read(layer)
        return base.to(self._device), [self._placed(model) for model in models]

    def kept_rows(self, layer: Layer) -> list[int]:
        """Rows of token embeddings that no method may change: the base has no such token."""
        return list(self._reader.kept_rows(layer))

    def _placed(self, model: torch.Tensor | Factors | None) -> Model:
        if isinstance(model, Factors):
            left = model.left.to(self._device, torch.float64) * model.scale
            return Product(left, model.right.to(self._device, torch.float64))
        return None if model is None else model.to(self._device)


def task_vectors(base: torch.Tensor, models: Models, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The base widened, and τ_i of every model, zero where a model lacks the tensor. NaN passes through."""
    weight = base.to(dtype)
    deltas = []
    for model in models:
        if isinstance(model, Product):
            deltas.append(model.dense(dtype))
        else:
            deltas.append(torch.zeros_like(weight) if model is None else model.to(dtype) - weight)
    return weight, deltas


def bad_entries(model: Model, chunk: int = 1 << 22) -> int:
    """How many entries are NaN or infinite."""
    found = 0
    for tensor in (model.left, model.right) if isinstance(model, Product) else () if model is None else (model,):
        for part in torch.split(tensor.reshape(-1), chunk):
            wide = part if part.dtype == torch.float64 else part.float()
            # One pass where all is well: NaN is neither least nor greatest, and aminmax hands it on.
            if wide.numel() and not all(math.isfinite(float(end)) for end in torch.aminmax(wide)):
                found += part.numel() - int(torch.isfinite(wide).sum())
    return found
