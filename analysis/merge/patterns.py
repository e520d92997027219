"""The pruned matrices of one layer, entry by entry with the pattern of each, ready for any coefficients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.globa import PATTERNS
from analysis.overlap import entry_types


@dataclass(frozen=True)
class Entries:
    """The non-zero entries of one C̃: row-major places in ascending order, and values."""

    places: Int64[Tensor, " entries"]
    values: Float[Tensor, " entries"]

    def pruned(self, energy: float) -> "Entries":
        """The fewest entries whose sum of squares reaches `energy`, largest first; all where even they do not.

        With the η of an analysis times its ``‖Ĉ‖²`` this is what that analysis would have kept, as long as η is no
        larger than the one these entries were pruned with (GLOBA, equation 17).
        """
        kept = _fewest_reaching(self.values.double().square(), energy)
        return Entries(self.places[kept], self.values[kept])


class PatternCores:
    """``α_{C1} C̃_1 + Σ_t α_t C̃_2|_t`` for any coefficients, in time proportional to the entries.

    Parameters
    ----------
    entries
        C̃_i of every task.
    anchor
        Index (from 0) of the task that plays C̃_1.
    shape
        Of the matrices: ranks of the left and the right basis.

    Notes
    -----
    Types are found once, O(rows cols + entries); `weighted` then scatters every entry once. Agrees with
    `analysis.merge.globa.weighted_core` up to the order of a sum of T terms.

    References
    ----------
    GLOBA, equations 18–20; appendix, equations 25–33.
    """

    def __init__(self, entries: Sequence[Entries], anchor: int, shape: tuple[int, int]) -> None:
        self._shape, self._anchor = shape, anchor
        first = entries[anchor]
        dense = self._scattered([(first.places, first.values)])
        self._parts = [(first.places, first.values, torch.zeros_like(first.places))]
        for task, other in enumerate(entries):
            if task != anchor:
                whole = self._scattered([(other.places, other.values)])
                codes = entry_types(dense, whole, other.places).long()
                self._parts.append((other.places, other.values, codes))

    def weighted(self, coefficients: Mapping[str, float]) -> Float[Tensor, "left_rank right_rank"]:
        """The weighted sum, dense.

        Raises
        ------
        OptionsError
            If a pattern is unknown or has no coefficient.
        """
        if set(coefficients) != set(PATTERNS):
            msg = f"coefficients for {sorted(coefficients)}; give one for each of {', '.join(PATTERNS)}"
            raise OptionsError(msg)
        values = self._parts[0][1]
        # Codes of the overlap types are 1 to 6, in the order of the patterns; 0 stands for C1.
        scales = torch.tensor([coefficients[name] for name in PATTERNS], dtype=values.dtype, device=values.device)
        return self._scattered([(places, scales[codes] * values) for places, values, codes in self._parts])

    def present(self) -> tuple[str, ...]:
        """The patterns that have an entry."""
        found = torch.stack([torch.bincount(codes, minlength=len(PATTERNS)) for _, _, codes in self._parts]).sum(0)
        return tuple(name for name, count in zip(PATTERNS, found.tolist(), strict=True) if count)

    def _scattered(self, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        rows, cols = self._shape
        flat = torch.zeros(rows * cols, dtype=parts[0][1].dtype, device=parts[0][1].device)
        for places, values in parts:
            flat.index_add_(0, places, values)
        return flat.view(rows, cols)


def _fewest_reaching(squares: Float[Tensor, " entries"], target: float) -> Bool[Tensor, " entries"]:
    """Mark the fewest entries whose sum reaches `target`, largest first, of equals the first; all when none does."""
    mask = torch.zeros_like(squares, dtype=torch.bool)
    ordered, order = torch.sort(squares, descending=True, stable=True)
    mask[order[: int((ordered.cumsum(0) < target).sum()) + 1]] = True
    return mask
