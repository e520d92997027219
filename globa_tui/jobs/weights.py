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
from globa_tui.engine.ahead import ahead
from globa_tui.engine.devices import Copier
from store.checkpoints import Factors, Index, IndexReader, Layer

Model = torch.Tensor | Product | None
"""What a fine-tune has: a weight, a task vector given by factors, or None where it leaves the base's."""
Models = Sequence[Model]

PIECE = 4 * BLOCK
"""Entries of a tensor that are read at a time where it is merged in parts."""


class LayerWeights:
    """Reads layer after layer of an index to a device; copying them there does not wait for what it computes."""

    def __init__(self, index: Index, device: torch.device) -> None:
        self._reader, self._copy = IndexReader(index), Copier(device)
        self._kept: tuple[str, tuple[int, ...]] | None = None
        tensors = 1 + len(index.fine_tuned)
        self._memory = [[torch.empty(4 * PIECE, dtype=torch.uint8) for _ in range(tensors)] for _ in range(2)]

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

    def parts(self, layer: Layer, *, by_rows: bool = False) -> Iterator[Part]:
        """The base widened and the task vectors of all models, `BLOCK` flat entries at a time, in their order.

        With `by_rows` as many whole rows at a time as have about `PIECE` entries.
        An adapter that brings embeddings of its own is read whole, everything else in pieces of `PIECE` entries; the
        next one is read while one is worked on. A part is overwritten by the next one, of this layer or another.
        """
        dtype = working_dtype(layer.dtype)
        block, step = BLOCK, PIECE
        if by_rows:
            block = step = max(1, PIECE // layer.shape[1]) * layer.shape[1]
        if not self._reader.is_divisible(layer):
            base, models = self.read(layer)
            weight, deltas = task_vectors(base, models, dtype)
            for start in range(0, max(1, weight.numel()), block):
                cut = slice(start, start + block)
                yield Part(start, weight.reshape(-1)[cut], [delta.reshape(-1)[cut] for delta in deltas])
            return
        factors = [self._placed(one) for one in self._reader.factors(layer)]
        widened = _Widened(dtype)
        pieces = self._pieces(layer, step)
        for first, piece, plain in ahead(pieces) if math.prod(layer.shape) > step else pieces:
            for start in range(0, max(1, piece.numel()), block):
                cut = slice(start, start + block)
                others = [None if one is None else one[cut] for one in plain]
                yield widened.part(first + start, piece[cut], factors, others)

    def _pieces(self, layer: Layer, step: int) -> Iterator[tuple[int, torch.Tensor, list[torch.Tensor | None]]]:
        """Place and flat entries of the base and of the models, as in their files, on the device, `step` at a time."""
        entries = math.prod(layer.shape)
        for number, start in enumerate(range(0, max(1, entries), step)):
            # While one piece is worked on, the other half of the memory is read into.
            memory = self._memory[number % 2]
            base, models = self._reader.read_flat(layer, start, min(entries, start + step), memory)
            placed = self._copy(base), [None if model is None else self._copy(model) for model in models]
            self._copy.finish()
            yield start, *placed

    def copied(self, layer: Layer) -> Iterator[torch.Tensor]:
        """The base's tensor, flat and in pieces, in the type of the file."""
        entries = math.prod(layer.shape)
        for start in range(0, entries, PIECE):
            yield self._reader.read_flat(layer, start, min(entries, start + PIECE))[0]

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
    """A range of the flat entries of one tensor, in the working dtype, until the next part is made."""

    first: int
    weight: torch.Tensor
    """W0."""
    deltas: list[torch.Tensor]
    """τ_i of every model, zero where a model lacks the tensor."""


def working_dtype(code: str) -> torch.dtype:
    """What is computed in, for a base tensor of this safetensors type."""
    return torch.float64 if code == "F64" else torch.float32


class _Widened:
    """Parts of a tensor in the working dtype, in memory that the next one uses again."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._memory: dict[int, torch.Tensor] = {}

    def part(
        self, first: int, base: torch.Tensor, factors: Sequence[Model], plain: Sequence[torch.Tensor | None]
    ) -> Part:
        """The part that begins at `first`; a change by factors comes in place of what is None there."""
        weight = self._place(0, base).copy_(base)
        deltas = []
        for number, (product, model) in enumerate(zip(factors, plain, strict=True), 1):
            place = self._place(number, base)
            if isinstance(product, Product):
                place.copy_(_entries(product, first, first + base.numel(), self._dtype))
            elif model is None:
                place.zero_()
            else:
                # torch subtracts tensors of two types fifteen times slower than it widens one and subtracts then.
                place.copy_(model).sub_(weight)
            deltas.append(place)
        return Part(first, weight, deltas)

    def _place(self, number: int, like: torch.Tensor) -> torch.Tensor:
        if number not in self._memory:
            self._memory[number] = torch.empty(like.numel(), dtype=self._dtype, device=like.device)
        return self._memory[number][: like.numel()]


def _entries(product: Product, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
    """The flat entries of a product from `start` to `stop`."""
    width = product.right.shape[1]
    rows = Product(product.left[start // width : -(-stop // width)], product.right)
    skipped = start // width * width
    return rows.dense(dtype).reshape(-1)[start - skipped : stop - skipped]


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
