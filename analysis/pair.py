"""One task vector against another: types, subspaces, alignment and conflict of an ordered pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.alignment import RankAlignment
from analysis.conflict import ConflictSums
from analysis.overlap import OVERLAP_TYPES, entry_types
from analysis.subspaces import SubspaceOverlap
from analysis.what_if import PATTERNS, WhatIf

_CHUNK = 1 << 20
"""Entries that are multiplied at a time."""


@dataclass(frozen=True)
class PairAnalysis:
    """Everything about task `task` against task `anchor`, both counted from 0.

    `overlap` has the shares of τ_task in the spaces of τ_anchor. `what_if` types Ĉ_task against Ĉ_anchor, also at the
    run's own thresholds `eta`. `inner` are the inner products ⟨C̃_anchor, D±⟩.
    """

    anchor: int
    task: int
    eta: tuple[float, float]
    overlap: SubspaceOverlap
    alignment: RankAlignment
    conflict: ConflictSums
    what_if: WhatIf
    inner: Mapping[str, float]

    @property
    def patterns(self) -> dict[str, tuple[int, float]]:
        """Count and energy of every pattern at the run's own thresholds."""
        row, column = self.what_if.anchor_etas.index(self.eta[0]), self.what_if.etas.index(self.eta[1])
        counts, energies = self.what_if.counts[row, column].tolist(), self.what_if.energies[row, column].tolist()
        return dict(zip(PATTERNS, zip(counts, energies, strict=True), strict=True))


def signed_products(anchor: Float[Tensor, "rows cols"], other: Float[Tensor, "rows cols"]) -> dict[str, float]:
    """Compute ``⟨C̃_1, D+⟩`` and ``⟨C̃_1, D−⟩``: the sums of the positive and of the negative products of entries."""
    positive = negative = 0.0
    for one, two in zip(torch.split(anchor.flatten(), _CHUNK), torch.split(other.flatten(), _CHUNK), strict=True):
        products = one * two
        positive += float(products.clamp(min=0).sum())
        negative += float(products.clamp_(max=0).sum())
    return {"C1.D+": positive, "C1.D-": negative}


def union_types(pruned: Sequence[Float[Tensor, "rows cols"]], task: int) -> dict[str, tuple[int, float]]:
    """Count and energy of the six types of one task against the union of all others.

    The union plays C̃_1: an entry is filled where any other task has one, a row or column where any has an entry in it.
    D+ has the sign of the sum of the others' entries there, D− another sign, or the others cancel.

    Returns
    -------
    Per type its number of entries and sum of squares. With two tasks those of the pair.

    References
    ----------
    GLOBA, appendix, equations 25–33, for two tasks; the extension to more is ours.
    """
    own = pruned[task]
    total = torch.zeros_like(own)
    filled = torch.zeros_like(own, dtype=torch.bool)
    for number, other in enumerate(pruned):
        if number != task:
            total += other
            filled |= other != 0
    union = torch.where(filled & (total == 0), torch.where(own > 0, -1.0, 1.0), torch.where(filled, total, 0.0))
    places = torch.nonzero(own.flatten()).flatten()
    codes = entry_types(union, own, places).long()
    size = len(OVERLAP_TYPES) + 1
    counts = torch.bincount(codes, minlength=size).tolist()
    energies = torch.bincount(codes, weights=own.flatten()[places].double().square(), minlength=size).tolist()
    return {kind.label: (counts[kind], float(energies[kind])) for kind in OVERLAP_TYPES}
