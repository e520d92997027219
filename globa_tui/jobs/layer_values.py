"""What a merge sees of one layer: whole, or part after part, and never NaN unless it may pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from analysis.errors import NotFiniteError
from globa_tui.jobs.drift import norm
from globa_tui.jobs.weights import LayerWeights, Model, Part, bad_entries, working_dtype
from store.checkpoints import Index, Layer


@dataclass(frozen=True)
class Merged:
    """A range of the flat entries of a merged tensor."""

    first: int
    weight: torch.Tensor
    """The base's entries."""
    values: torch.Tensor
    """The merged ones, in the working dtype."""
    norms: tuple[float, ...]
    """‖W0‖ and every ‖τ_i‖ over the range."""


def joined(ranges: Iterable[tuple[int, torch.Tensor]], entries: int) -> torch.Tensor:
    """Put ranges of the flat entries of a tensor, each with its first entry, into one block of memory.

    One block goes back to the system when it is let go; of many small ones the C library keeps the memory.

    Raises
    ------
    ValueError
        The ranges leave entries out, or overlap.
    """
    whole, filled = None, 0
    for first, values in ranges:
        end = first + values.numel()
        if first != filled or end > entries:
            msg = f"a range from {first} to {end} after the first {filled} of {entries} entries"
            raise ValueError(msg)
        if values.numel() == entries:
            whole = values
        else:
            if whole is None:
                whole = torch.empty(entries, dtype=values.dtype, device=values.device)
            whole[first:end] = values
        filled = end
    if whole is None or filled != entries:
        msg = f"ranges of {filled} entries of {entries}"
        raise ValueError(msg)
    return whole


class LayerValues:
    """The values of one layer in every model.

    Parameters
    ----------
    layer, index, weights
        The layer, the index it is from, and the reader of its values.
    allow_failed
        Let NaN and infinity pass.
    """

    def __init__(self, layer: Layer, index: Index, weights: LayerWeights, *, allow_failed: bool) -> None:
        self.layer, self.dtype, self.allow_failed = layer, working_dtype(layer.dtype), allow_failed
        self._index, self._weights = index, weights
        self._loaded: tuple[torch.Tensor, list[Model]] | None = None

    def load(self) -> None:
        """Read what the next call of `whole` gives."""
        self._loaded = self._weights.read(self.layer)

    def whole(self) -> tuple[torch.Tensor, list[Model]]:
        """The tensor of the base and of every model.

        Raises
        ------
        NotFiniteError
            When one of them holds NaN or infinity, with file, tensor and count.
        """
        weight, models = self._loaded or self._weights.read(self.layer)
        self._loaded = None
        for checkpoint, name, tensor in zip(
            (self._index.base, *self._index.fine_tuned),
            (self.layer.name, *self.layer.fine_tuned),
            (weight, *models),
            strict=True,
        ):
            bad = 0 if self.allow_failed else bad_entries(tensor)
            if bad:
                msg = (
                    f"{checkpoint.path}: tensor {name} holds {bad} NaN or infinite entries of {weight.numel()}; "
                    "mend the source, or let them through with --allow-failed"
                )
                raise NotFiniteError(msg)
        return weight, models

    def parts(self, *, by_rows: bool = False) -> Iterator[Part]:
        """The layer part after part, unchecked; with `by_rows` parts of whole rows."""
        return self._weights.parts(self.layer, by_rows=by_rows)

    def measured(self, *, by_rows: bool = False) -> Iterator[tuple[Part, tuple[float, ...]]]:
        """The layer part after part, each with ‖W0‖ and every ‖τ_i‖.

        Raises
        ------
        NotFiniteError
            As `whole`.
        """
        for part in self.parts(by_rows=by_rows):
            norms = tuple(map(norm, (part.weight, *part.deltas)))
            # A norm is finite where all entries are.
            if not self.allow_failed and not all(map(math.isfinite, norms)):
                self.whole()
            yield part, norms
