"""The values of one layer in the base and in every fine-tune, fitted to each other."""

from __future__ import annotations

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
    owners in every model, so that it is nobody's change and stays as it is. Memory: the tensors returned, twice that
    for embeddings of models whose vocabularies differ.
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
        base = _part(self._base, layer.tensor, layer.part)
        models: list[torch.Tensor | Factors | None] = []
        for reader, name in zip(self._models, layer.fine_tuned, strict=True):
            models.append(None if name is None else self._model(reader, name, layer, base))
        vocabulary = self.index.vocabulary
        if vocabulary is None or layer.tensor not in vocabulary.tensors:
            return base, models
        return self._by_token(base, models)

    def kept_rows(self, layer: Layer) -> tuple[int, ...]:
        """Rows of a layer that must stay what `read` gave the base: tokens that only fine-tunes have."""
        vocabulary = self.index.vocabulary
        if vocabulary is None or vocabulary.base is None or layer.tensor not in vocabulary.tensors:
            return ()
        return tuple(row for row, ours in enumerate(vocabulary.base) if ours < 0)

    @staticmethod
    def _model(reader: TensorReader, name: str, layer: Layer, base: torch.Tensor) -> torch.Tensor | Factors:
        factors = reader.factors(name)
        if factors is None:
            return _part(reader, name, layer.part)
        if factors.over is None or _same(factors.over, base):
            return Factors(factors.left, factors.right, factors.scale)
        # Resized embeddings: what is added to is the adapter's own table.
        wide = factors.over.float()
        return wide.addmm_(factors.left.float(), factors.right.float(), alpha=factors.scale)

    def _by_token(
        self, base: torch.Tensor, models: list[torch.Tensor | Factors | None]
    ) -> tuple[torch.Tensor, list[torch.Tensor | Factors | None]]:
        """Bring all rows into the order of the merged vocabulary."""
        import torch

        vocabulary = self.index.vocabulary
        assert vocabulary is not None
        ours = _rows(vocabulary.base, vocabulary.size)
        new = ours < 0
        aligned = base[ours.clamp(min=0)]
        places = [_rows(rows, vocabulary.size) for rows in vocabulary.fine_tuned]
        if bool(new.any()):
            total = torch.zeros(int(new.sum()), *base.shape[1:], dtype=torch.float32)
            owners = torch.zeros(total.shape[0], *[1] * (base.ndim - 1))
            for model, rows in zip(models, places, strict=True):
                if isinstance(model, torch.Tensor):
                    has = rows[new] >= 0
                    total[has] += model[rows[new][has]].float()
                    owners[has] += 1
            aligned[new] = (total / owners.clamp(min=1)).to(base.dtype)
        fitted: list[torch.Tensor | Factors | None] = []
        for model, rows in zip(models, places, strict=True):
            if isinstance(model, torch.Tensor):
                other = model[rows.clamp(min=0)]
                unchanged = (rows < 0) | new
                other[unchanged] = aligned[unchanged].to(other.dtype)
                fitted.append(other)
            elif isinstance(model, Factors):
                left = model.left[ours.clamp(min=0)]
                left[new] = 0
                fitted.append(Factors(left, model.right, model.scale))
            else:
                fitted.append(None)
        return aligned, fitted


def _part(reader: TensorReader, name: str, part: int | None) -> torch.Tensor:
    return reader.read(name) if part is None else reader.read_rows(name, part, part + 1)[0]


def _rows(rows: tuple[int, ...] | None, size: int) -> torch.Tensor:
    import torch

    return torch.arange(size) if rows is None else torch.tensor(rows, dtype=torch.int64)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.dtype == other.dtype and torch.equal(one, other)
