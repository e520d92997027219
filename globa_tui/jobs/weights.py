"""The weights of one layer, as the mathematics takes them: tensors, products of factors, or nothing."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch

from analysis.merge import BLOCK
from analysis.product import Product
from globa_tui.engine.devices import Copier
from store.checkpoints import Factors, Index, IndexReader, Layer

Model = torch.Tensor | Product | None
"""What a fine-tune has: a weight, a task vector given by factors, or None where it leaves the base's."""
Models = Sequence[Model]


class LayerWeights:
    """Reads layer after layer of an index to a device; copying them there does not wait for what it computes."""

    def __init__(self, index: Index, device: torch.device) -> None:
        self._reader, self._copy = IndexReader(index), Copier(device)
        self._kept: tuple[str, tuple[int, ...]] | None = None

    def __enter__(self) -> LayerWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files."""
        self._reader.__exit__(None, None, None)

    def read(self, layer: Layer) -> tuple[torch.Tensor, list[Model]]:
        """The base's tensor, and what every fine-tune has in its place."""
        base, models = self._reader.read(layer)
        placed = self._copy(base), [self._placed(model) for model in models]
        self._copy.finish()
        return placed

    def parts(self, layer: Layer) -> Iterator[Part]:
        """The base widened and the task vectors of all models, `BLOCK` flat entries at a time, in their order.

        An adapter that brings embeddings of its own is read whole, everything else in these parts.
        """
        dtype = working_dtype(layer.dtype)
        entries = math.prod(layer.shape)
        starts = range(0, max(1, entries), BLOCK)
        if not self._reader.is_divisible(layer):
            base, models = self.read(layer)
            weight, deltas = task_vectors(base, models, dtype)
            for start in starts:
                cut = slice(start, start + BLOCK)
                yield Part(start, weight.reshape(-1)[cut], [delta.reshape(-1)[cut] for delta in deltas])
            return
        factors = [self._placed(one) for one in self._reader.factors(layer)]
        for start in starts:
            stop = min(entries, start + BLOCK)
            base, plain = self._reader.read_flat(layer, start, stop)
            models = [
                _rows(one, start, stop) if isinstance(one, Product) else self._placed(other)
                for one, other in zip(factors, plain, strict=True)
            ]
            base = self._copy(base)
            self._copy.finish()
            weight, deltas = task_vectors(base, models, dtype)
            deltas = [
                _flat(delta, one, start, stop) if isinstance(one, Product) else delta
                for delta, one in zip(deltas, factors, strict=True)
            ]
            yield Part(start, weight, deltas)

    def copied(self, layer: Layer) -> Iterator[torch.Tensor]:
        """The base's tensor, flat and in pieces, in the type of the file."""
        entries = math.prod(layer.shape)
        for start in range(0, entries, BLOCK):
            yield self._reader.read_flat(layer, start, min(entries, start + BLOCK))[0]

    def kept(self, layer: Layer, start: int, stop: int) -> Iterator[slice]:
        """Ranges among the flat entries from `start` to `stop` that stay as they are: the base has no such token."""
        if self._kept is None or self._kept[0] != layer.name:
            self._kept = layer.name, self._reader.kept_rows(layer)
        rows = self._kept[1]
        width = math.prod(layer.shape[1:])
        for row in rows[bisect_left(rows, start // width) : bisect_left(rows, -(-stop // width))] if rows else ():
            yield slice(max(row * width - start, 0), min((row + 1) * width, stop) - start)

    def _placed(self, model: torch.Tensor | Factors | None) -> Model:
        if isinstance(model, Factors):
            left = self._copy(model.left.to(torch.float64) * model.scale)
            return Product(left, self._copy(model.right.to(torch.float64)))
        return None if model is None else self._copy(model)


@dataclass(frozen=True)
class Part:
    """A range of the flat entries of one tensor, in the working dtype."""

    first: int
    weight: torch.Tensor
    """W0."""
    deltas: list[torch.Tensor]
    """τ_i of every model, zero where a model lacks the tensor."""


def working_dtype(code: str) -> torch.dtype:
    """What is computed in, for a base tensor of this safetensors type."""
    return torch.float64 if code == "F64" else torch.float32


def _rows(product: Product, start: int, stop: int) -> Product:
    """The rows of a product that hold the flat entries from `start` to `stop`."""
    width = product.right.shape[1]
    return Product(product.left[start // width : -(-stop // width)], product.right)


def _flat(rows: torch.Tensor, product: Product, start: int, stop: int) -> torch.Tensor:
    skipped = start // product.right.shape[1] * product.right.shape[1]
    return rows.reshape(-1)[start - skipped : stop - skipped]


def task_vectors(base: torch.Tensor, models: Models, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The base widened, and τ_i of every model, zero where a model lacks the tensor. NaN passes through."""
    weight = base.to(dtype)
    deltas = []
    for model in models:
        if isinstance(model, Product):
            deltas.append(model.dense(dtype))
        elif model is None:
            deltas.append(torch.zeros_like(weight))
        else:
            # torch subtracts tensors of two types fifteen times slower than it widens one and subtracts then.
            deltas.append(model - weight if model.dtype == dtype else model.to(dtype).sub_(weight))
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
