"""Trimming a task vector to its largest entries."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext, in_parts
from analysis.merge.selection import Selection
from analysis.merge.signs import Vectors


def trim_above(vector: Float[Tensor, "*shape"], threshold: float) -> Float[Tensor, "*shape"]:
    """Set every entry smaller in magnitude than `threshold` to 0; magnitudes are compared in float32."""
    return vector * (vector.abs().float() >= threshold)


class CountTrim:
    """Keeps exactly ``max(1, ⌊density · n⌋)`` entries of one tensor, those of the largest magnitude.

    Of equal magnitudes the first are kept. mergekit sorts, keeps equal ones in no fixed order, and fails where nothing
    is kept.

    Parameters
    ----------
    density
        Share of entries to keep; 1 keeps all.
    dtype
        Of the task vectors.

    Notes
    -----
    Passes over the parts of the tensor in their order: two for the smallest magnitude that is kept (four in float64),
    and one more to find the last entry of that magnitude that is kept where not all of them are.
    """

    def __init__(self, density: float, dtype: torch.dtype) -> None:
        self._density = density
        self._selection = Selection([density] if density < 1.0 else [], _rank, dtype)
        self._left: int | None = None
        self._limit, self._last = 0.0, -1
        self.done = self._selection.done
        """Whether `kept` can be asked."""

    def see(self, vector: Float[Tensor, "*shape"], first: int) -> None:
        """Take in a part that starts at entry `first`."""
        if not self._selection.done:
            self._selection.see(vector)
        elif self._left:
            equal = torch.nonzero(vector.reshape(-1).abs() == self._limit).reshape(-1)[: self._left]
            if equal.numel():
                self._last = first + int(equal[-1])
                self._left -= equal.numel()

    def end_pass(self) -> None:
        """Go on to the next pass."""
        if self._left is None and not self._selection.done:
            self._selection.end_pass()
            if self._selection.done:
                found = self._selection.found[self._density]
                self._limit = found.value
                self._left = _count(self._selection.entries, self._density) - found.above
                self.done = self._left == found.equal
                self._last = -1 if not self.done else self._selection.entries
            return
        self.done = True

    def kept(self, vector: Float[Tensor, "*shape"], first: int) -> Float[Tensor, "*shape"]:
        """The part that starts at entry `first`, trimmed."""
        if self._density >= 1.0:
            return vector
        flat = vector.reshape(-1)
        magnitude = flat.abs()
        keep = magnitude > self._limit
        equals = max(0, min(flat.numel(), self._last + 1 - first))
        keep[:equals] |= magnitude[:equals] == self._limit
        return (flat * keep).reshape(vector.shape)


def trim_to_count(vector: Float[Tensor, "*shape"], density: float) -> Float[Tensor, "*shape"]:
    """Trim a whole tensor as `CountTrim` does."""
    trim = CountTrim(density, vector.dtype)
    while not trim.done:
        for (part,), context in in_parts([vector], TensorContext()):
            trim.see(part, context.first)
        trim.end_pass()
    return trim.kept(vector, 0)


Sources = Callable[[Sequence[Tensor], TensorContext], Vectors]


class TensorTrim:
    """Passes over one tensor that trim each of its task vectors.

    Parameters
    ----------
    shares
        Density of each model.
    dtype
        Of the task vectors.
    sources
        Makes the task vectors before the trim.
    """

    def __init__(self, shares: Sequence[float], dtype: torch.dtype, sources: Sources) -> None:
        self._trims = [CountTrim(share, dtype) for share in shares]
        self._sources = sources

    @property
    def done(self) -> bool:
        """Whether all task vectors can be trimmed."""
        return all(trim.done for trim in self._trims)

    def see(self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext) -> None:
        """Take in the next part."""
        for trim, make in zip(self._trims, self._sources(task_vectors, context), strict=True):
            if not trim.done:
                trim.see(make(), context.first)

    def end_pass(self) -> None:
        """Go on to the next pass."""
        for trim in self._trims:
            if not trim.done:
                trim.end_pass()

    def kept(self, model: int, vector: Float[Tensor, "*shape"], first: int) -> Float[Tensor, "*shape"]:
        """A part of one task vector, trimmed."""
        return self._trims[model].kept(vector, first)


def _count(entries: int, density: float) -> int:
    return max(1, int(density * entries))


def _rank(entries: int, density: float) -> int:
    return entries - _count(entries, density) + 1
