"""Parameter conflict of two task vectors: magnitude, sign and cosine, entry by entry."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from analysis.product import Product

CHUNK = 1 << 16
"""Entries that are widened to float64 at a time: few enough that a pass over them stays in a processor's cache."""


@dataclass(frozen=True)
class ConflictSums:
    """Sums over the entries of two task vectors; those of several tensors add up to those of a model.

    An entry that one task leaves exactly as it was and the other moves has different signs (0 against ±1); one that
    both leave has equal signs. `zeros` counts the entries that task i, or task j, leaves.
    """

    entries: int = 0
    difference: float = 0.0
    magnitudes: float = 0.0
    sign_changes: int = 0
    conflicting_difference: float = 0.0
    product: float = 0.0
    squares: tuple[float, float] = (0.0, 0.0)
    zeros: tuple[int, int] = (0, 0)

    def __add__(self, other: "ConflictSums") -> "ConflictSums":
        """Join the sums of two tensors."""
        return ConflictSums(
            self.entries + other.entries,
            self.difference + other.difference,
            self.magnitudes + other.magnitudes,
            self.sign_changes + other.sign_changes,
            self.conflicting_difference + other.conflicting_difference,
            self.product + other.product,
            (self.squares[0] + other.squares[0], self.squares[1] + other.squares[1]),
            (self.zeros[0] + other.zeros[0], self.zeros[1] + other.zeros[1]),
        )

    @property
    def magnitude_change_ratio(self) -> float | None:
        """``‖θ_i − θ_j‖_1 / (‖τ_i‖_1 + ‖τ_j‖_1)``, 0 where both moved alike, 1 where no entry moved in both."""
        return self.difference / self.magnitudes if self.magnitudes > 0 else None

    @property
    def sign_change_ratio(self) -> float | None:
        """Share of the entries whose signs differ."""
        return self.sign_changes / self.entries if self.entries else None

    @property
    def conflicting_magnitude_change_ratio(self) -> float | None:
        """The magnitude change ratio, counting in its numerator only entries whose signs differ."""
        return self.conflicting_difference / self.magnitudes if self.magnitudes > 0 else None

    @property
    def cosine(self) -> float | None:
        """``τ_i · τ_j / (‖τ_i‖ ‖τ_j‖)``; None where one is zero."""
        size = math.sqrt(self.squares[0]) * math.sqrt(self.squares[1])
        return self.product / size if size > 0 else None


def conflict_sums(
    base: Shaped[Tensor, "*shape"], first: Shaped[Tensor, "*shape"], second: Shaped[Tensor, "*shape"]
) -> ConflictSums:
    """Sum what the conflict metrics of two fine-tunes of one tensor are made of.

    Parameters
    ----------
    base, first, second
        W0, W_i and W_j, of any floating dtype.

    Returns
    -------
    The sums, exact to float64 rounding. O(size) time; memory of a few chunks in float64.

    References
    ----------
    Model merging collapse, appendix A, equations 4–7.
    """
    total = ConflictSums()
    flat = base.flatten(), first.flatten(), second.flatten()
    for start in range(0, base.numel(), CHUNK):
        weight, one, two = (part[start : start + CHUNK].double() for part in flat)
        total = total + _sums(one - weight, two - weight)
    return total


def conflict_of_matrices(
    base: Shaped[Tensor, "rows cols"],
    first: Shaped[Tensor, "rows cols"] | Product | None,
    second: Shaped[Tensor, "rows cols"] | Product | None,
) -> ConflictSums:
    """Sum the same of two fine-tunes of one matrix, of which some may be given by factors or be the base (None).

    Where both are factors, or nothing, entries are not formed: then only the inner product and the norms are known, in
    O((m + n) r²), `entries` is 0, and of the four metrics only the cosine is not None.
    """
    if not isinstance(first, Tensor) and not isinstance(second, Tensor):
        return ConflictSums(product=_inner(first, second), squares=(_inner(first, first), _inner(second, second)))
    whole = [base if one is None else one for one in (first, second)]
    step = max(CHUNK // max(base.shape[1], 1), 1)
    total = ConflictSums()
    for start in range(0, base.shape[0], step):
        rows = slice(start, start + step)
        weight = base[rows].double()
        one, two = (_rows_of(model, rows) - (0 if isinstance(model, Product) else weight) for model in whole)
        total = total + _sums(one.flatten(), two.flatten())
    return total


def _rows_of(model: Shaped[Tensor, "rows cols"] | Product, rows: slice) -> Float[Tensor, "some cols"]:
    """Rows of a weight, or of a product, in float64."""
    return model.left[rows].double() @ model.right.double() if isinstance(model, Product) else model[rows].double()


def _inner(first: Product | None, second: Product | None) -> float:
    """Inner product of two task vectors from their factors."""
    if first is None or second is None:
        return 0.0
    outputs = first.left.double().mT @ second.left.double()
    return float((outputs * (first.right.double() @ second.right.double().mT)).sum())


def _sums(first: Float[Tensor, " size"], second: Float[Tensor, " size"]) -> ConflictSums:
    # As dot products with signs: each is one pass over memory, where comparing, selecting and adding up take three.
    difference, signs = (first - second).abs_(), (first.sign(), second.sign())
    moved = signs[0] @ signs[0], signs[1] @ signs[1]
    magnitudes = first @ signs[0] + second @ signs[1]
    differ = signs[0].ne_(signs[1])
    sums = torch.stack(
        [
            difference.sum(),
            magnitudes,
            differ.sum(),
            difference @ differ,
            first @ second,
            first @ first,
            second @ second,
            *moved,
        ]
    ).tolist()
    size = first.shape[0]
    zeros = size - int(sums[7]), size - int(sums[8])
    return ConflictSums(size, sums[0], sums[1], int(sums[2]), sums[3], sums[4], (sums[5], sums[6]), zeros)
