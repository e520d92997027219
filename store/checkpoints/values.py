"""The values of one layer in the base and in every fine-tune, fitted to each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from store.checkpoints.index import Index, Layer
from store.checkpoints.reader import Factors, TensorReader

if TYPE_CHECKING:
    import torch


class IndexReader:
    """Reads layers of an index: the base's tensor, and what each fine-tune has in its place.

    Parameters
    ----------
    index : Index
        From `build_index`, without errors.

    Notes
    -----
    Matrices of a stack of experts are read one at a time. Rows of token embeddings come in the order of the merged
    vocabulary: a token that a fine-tune lacks has the base's row there; one that the base lacks has the mean of its
    owners in every model, so that it is nobody's change and stays as it is. Memory: what is returned, and where an
    adapter brings embeddings of its own, these and the base's.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._base = TensorReader(index.base)
        self._models = [TensorReader(model) for model in index.fine_tuned]

    def __enter__(self) -> IndexReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in (self._base, *self._models):
            reader.close()

    def read(self, layer: Layer) -> tuple[torch.Tensor, list[torch.Tensor | Factors | None]]:
        """Read one layer.

        Returns
        -------
        torch.Tensor
            The base's, in the type of the file.
        list
            For each fine-tune its tensor, the factors of its change, or None where it has none: the base's holds.

        Raises
        ------
        CheckpointError
            When a file cannot be read or has changed.
        """
        tables = self._own_tables(layer)
        models: list[torch.Tensor | Factors | None]
        if self._is_by_token(layer):
            base, plain = self._by_token(layer, 0, layer.shape[0], tables)
            models = [*plain]
        else:
            base, plain = self._flat(layer, 0, math.prod(layer.shape))
            base = base.reshape(layer.shape)
            models = [None if one is None else one.reshape(layer.shape) for one in plain]
            models = [tables.get(number, one) for number, one in enumerate(models)]
        given = [None if number in tables else one for number, one in enumerate(self.factors(layer))]
        return base, [factors or one for one, factors in zip(models, given, strict=True)]

    def is_divisible(self, layer: Layer) -> bool:
        """Whether `read_flat` gives what `read` gives: not where an adapter brings a table of its own."""
        named = zip(self._models, layer.fine_tuned, strict=True)
        return not any(_has_table(reader, name) for reader, name in named)

    def read_flat(
        self, layer: Layer, start: int, stop: int, memory: Sequence[torch.Tensor] = ()
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """Read the entries ``start`` to ``stop`` (exclusive) of a layer, flat; None also for a change given by factors.

        `memory`, bytes for each model and first the base, saves new memory where rows are as in the files.

        Raises
        ------
        CheckpointError
            As `read`.
        """
        if not self._is_by_token(layer):
            return self._flat(layer, start, stop, memory)
        width = math.prod(layer.shape[1:])
        first, last = start // width, -(-stop // width)
        base, plain = self._by_token(layer, first, last, {})
        cut = slice(start - first * width, stop - first * width)
        return base.reshape(-1)[cut], [None if one is None else one.reshape(-1)[cut] for one in plain]

    def factors(self, layer: Layer) -> list[Factors | None]:
        """For each fine-tune the factors of its change, where it is given by factors; rows as in the result."""
        found = [
            reader.factors(name) if name is not None else None
            for reader, name in zip(self._models, layer.fine_tuned, strict=True)
        ]
        return [dataclasses.replace(self._by_row(one, layer), over=None) if one is not None else None for one in found]

    def kept_rows(self, layer: Layer) -> tuple[int, ...]:
        """Rows of a layer that must stay what `read` gave the base: tokens that only fine-tunes have."""
        vocabulary = self.index.vocabulary
        if vocabulary is None or vocabulary.base is None or layer.tensor not in vocabulary.tensors:
            return ()
        return tuple(row for row, ours in enumerate(vocabulary.base) if ours < 0)

    def _flat(
        self, layer: Layer, start: int, stop: int, memory: Sequence[torch.Tensor] = ()
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        first = (layer.part or 0) * math.prod(layer.shape)
        start, stop = first + start, first + stop
        places: Sequence[torch.Tensor | None] = memory or [None] * (1 + len(self._models))
        own, *others = places
        models = [
            None if name is None or name in reader.checkpoint.low_rank else reader.read_flat(name, start, stop, place)
            for reader, name, place in zip(self._models, layer.fine_tuned, others, strict=True)
        ]
        return self._base.read_flat(layer.tensor, start, stop, own), models

    def _is_by_token(self, layer: Layer) -> bool:
        return self.index.vocabulary is not None and layer.tensor in self.index.vocabulary.tensors

    def _own_tables(self, layer: Layer) -> dict[int, torch.Tensor]:
        """Whole tables of adapters that are added to a table of their own: embeddings that were resized."""
        tables: dict[int, torch.Tensor] = {}
        for number, (reader, name) in enumerate(zip(self._models, layer.fine_tuned, strict=True)):
            if not _has_table(reader, name) or (factors := reader.factors(name or "")) is None:
                continue
            assert factors.over is not None
            if not _same(factors.over, self._base.read(layer.tensor)):
                wide = factors.over.float()
                tables[number] = wide.addmm_(factors.left.float(), factors.right.float(), alpha=factors.scale)
        return tables

    def _by_token(
        self, layer: Layer, first: int, last: int, tables: Mapping[int, torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """Rows of the merged vocabulary: a token that a model lacks has the base's row, or the mean of its owners."""
        import torch

        vocabulary = self.index.vocabulary
        assert vocabulary is not None
        ours = _rows(vocabulary.base, first, last)
        base, new = _gathered(self._base, layer.tensor, ours), ours < 0
        places = [_rows(rows, first, last) for rows in vocabulary.fine_tuned]
        models: list[torch.Tensor | None] = []
        for number, (reader, name, rows) in enumerate(zip(self._models, layer.fine_tuned, places, strict=True)):
            if number in tables:
                models.append(tables[number][rows.clamp(min=0)])
            else:
                plain = name is not None and name not in reader.checkpoint.low_rank
                models.append(_gathered(reader, name, rows) if name is not None and plain else None)
        if bool(new.any()):
            total = torch.zeros(int(new.sum()), *base.shape[1:], dtype=torch.float32)
            owners = torch.zeros(total.shape[0], *[1] * (base.ndim - 1))
            for model, rows in zip(models, places, strict=True):
                if model is not None:
                    has = rows[new] >= 0
                    total[has] += model[new][has].float()
                    owners[has] += 1
            base[new] = (total / owners.clamp(min=1)).to(base.dtype)
        for model, rows in zip(models, places, strict=True):
            if model is not None:
                unchanged = (rows < 0) | new
                model[unchanged] = base[unchanged].to(model.dtype)
        return base, models

    def _by_row(self, factors: Factors, layer: Layer) -> Factors:
        """Factors with a row for each token of the merged vocabulary; tokens that the base lacks do not change."""
        vocabulary = self.index.vocabulary
        if vocabulary is None or layer.tensor not in vocabulary.tensors:
            return factors
        ours = _rows(vocabulary.base, 0, vocabulary.size)
        left = factors.left[ours.clamp(min=0)]
        left[ours < 0] = 0
        return dataclasses.replace(factors, left=left)


def _has_table(reader: TensorReader, name: str | None) -> bool:
    one = reader.checkpoint.low_rank.get(name or "")
    return one is not None and one.over is not None


def _gathered(reader: TensorReader, name: str, rows: torch.Tensor) -> torch.Tensor:
    """Rows of a tensor in any order, zero for a negative number; runs of rows are read at once."""
    import torch

    none = reader.read_rows(name, 0, 0)
    found = torch.zeros(len(rows), *none.shape[1:], dtype=none.dtype)
    place = 0
    for start, length in _runs(rows.tolist()):
        if start >= 0:
            found[place : place + length] = reader.read_rows(name, start, start + length)
        place += length
    return found


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Start and length of every run of rows that follow each other; negative ones stand alone."""
    start, length = -1, 0
    for row in rows:
        if length and start >= 0 and row == start + length:
            length += 1
            continue
        if length:
            yield start, length
        start, length = row, 1
    if length:
        yield start, length


def _rows(rows: tuple[int, ...] | None, first: int, last: int) -> torch.Tensor:
    import torch

    return torch.arange(first, last) if rows is None else torch.tensor(rows[first:last], dtype=torch.int64)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.dtype == other.dtype and torch.equal(one, other)
