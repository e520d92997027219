"""Parameter conflict of two task vectors: magnitude, sign and cosine, entry by entry."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

CHUNK = 1 << 20
"""Entries that are widened to float64 at a time."""


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


def _sums(first: Float[Tensor, " size"], second: Float[Tensor, " size"]) -> ConflictSums:
    difference = (first - second).abs()
    differ = torch.sign(first) != torch.sign(second)
    return ConflictSums(
        entries=first.shape[0],
        difference=float(difference.sum()),
        magnitudes=float(first.abs().sum() + second.abs().sum()),
        sign_changes=int(differ.sum()),
        conflicting_difference=float(difference[differ].sum()),
        product=float(first @ second),
        squares=(float(first @ first), float(second @ second)),
        zeros=(int((first == 0).sum()), int((second == 0).sum())),
    )
