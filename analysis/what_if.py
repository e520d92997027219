"""What the six types would be at other pruning thresholds, without another decomposition."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from analysis.overlap import OVERLAP_TYPES

_CHUNK = 1 << 20
"""Entries that are looked at at a time: a few int64 stand for each."""
PATTERNS = ("C1", *(kind.label for kind in OVERLAP_TYPES))
"""Order of the last axis: C̃_1 itself, then A, B, C, D+, D−, E."""

ETAS = (0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds that are looked at besides a run's own: those of the paper's tables, and between."""


@dataclass(frozen=True)
class WhatIf:
    """Counts and energies of the patterns of one pair at every pair of thresholds of a grid; exact at each of them.

    `counts[i, j, p]` and `energies[i, j, p]` belong to ``η = anchor_etas[i]`` of the anchor's matrix, ``η = etas[j]``
    of the other's, and pattern p of `PATTERNS`.
    """

    anchor_etas: tuple[float, ...]
    etas: tuple[float, ...]
    counts: Int64[Tensor, "anchor_etas etas patterns"]
    energies: Float[Tensor, "anchor_etas etas patterns"]


def grid(own: float, etas: Sequence[float] = ETAS) -> tuple[float, ...]:
    """Thresholds of one task in ascending order, its own among them."""
    return tuple(sorted({own, *etas}))


def what_if(
    anchor: Float[Tensor, "rows cols"],
    other: Float[Tensor, "rows cols"],
    anchor_levels: UInt8[Tensor, "rows cols"],
    levels: UInt8[Tensor, "rows cols"],
    anchor_etas: Sequence[float],
    etas: Sequence[float],
) -> WhatIf:
    """Count the patterns of two tasks at every pair of thresholds.

    Which type an entry (r, c) of C̃_2 has at the i-th threshold of C̃_1 follows from three levels: its own in C̃_1, and
    the lowest of row r and of column c. So one histogram over those, its level in C̃_2 and whether the signs agree holds
    everything; the grid is sums of its cells.

    Parameters
    ----------
    anchor, other
        Ĉ_1 and Ĉ_2, unpruned.
    anchor_levels, levels
        Their `analysis.prune.energy_levels` for `anchor_etas` and `etas`.
    anchor_etas, etas
        Thresholds, ascending.

    Notes
    -----
    A few passes over the entries that the largest threshold keeps; memory of a few int64 for each.

    References
    ----------
    GLOBA, equation 17; appendix, equations 25–33.
    """
    shape = len(etas), 2, len(anchor_etas) + 1, len(anchor_etas) + 1, len(anchor_etas) + 1
    counts, energies = _histogram(anchor, other, anchor_levels, levels, shape)
    own = torch.stack(_own(anchor, anchor_levels, len(anchor_etas)))
    grids = _grid(own, torch.stack([counts.double(), energies.double()]))
    return WhatIf(tuple(anchor_etas), tuple(etas), grids[0].long(), grids[1])


def _own(
    anchor: Float[Tensor, "rows cols"], levels: UInt8[Tensor, "rows cols"], size: int
) -> tuple[Float[Tensor, " etas"], Float[Tensor, " etas"]]:
    """Entries and energy of C̃_1 at every threshold."""
    counts = torch.zeros(size, dtype=torch.int64, device=anchor.device)
    energies = counts.double()
    for level, values in zip(torch.split(levels.flatten(), _CHUNK), torch.split(anchor.flatten(), _CHUNK), strict=True):
        keys = level.long()
        counts += torch.bincount(keys, minlength=size + 1)[:size]
        energies += torch.bincount(keys, weights=values.double().square(), minlength=size + 1)[:size]
    return counts.double().cumsum(0), energies.double().cumsum(0)


def _histogram(
    anchor: Float[Tensor, "rows cols"],
    other: Float[Tensor, "rows cols"],
    anchor_levels: UInt8[Tensor, "rows cols"],
    levels: UInt8[Tensor, "rows cols"],
    shape: tuple[int, int, int, int, int],
) -> tuple[Int64[Tensor, "level same here row column"], Float[Tensor, "level same here row column"]]:
    """Count, and sum the squares of, the entries of Ĉ_2 by their levels; see `what_if`."""
    counts = torch.zeros(shape, dtype=torch.int64, device=other.device).flatten()
    energies = counts.double()
    if other.numel() == 0:
        return counts.view(shape), energies.view(shape)
    row_levels, column_levels = anchor_levels.amin(1, keepdim=True).long(), anchor_levels.amin(0, keepdim=True).long()
    step = max(_CHUNK // other.shape[1], 1)
    for rows in (slice(start, start + step) for start in range(0, other.shape[0], step)):
        lines = row_levels[rows] * shape[4] + column_levels
        places = torch.nonzero((levels[rows] < shape[0]).flatten()).flatten()
        values, there = other[rows].flatten()[places], anchor[rows].flatten()[places]
        keys = levels[rows].flatten()[places].long() * 2 + ((values > 0) == (there > 0))
        keys = keys * shape[2] + anchor_levels[rows].flatten()[places]
        keys = keys * (shape[3] * shape[4]) + lines.flatten()[places]
        energies += torch.bincount(keys, weights=values.double().square(), minlength=counts.shape[0])
        counts += torch.bincount(keys, minlength=counts.shape[0])
    return counts.view(shape), energies.view(shape)


def _grid(
    own: Float[Tensor, "what etas"], cells: Float[Tensor, "what level same here row column"]
) -> Float[Tensor, "what etas level pattern"]:
    """From histograms to the patterns at every pair of thresholds: sums of cells, chosen by matrices of 0 and 1."""
    places = torch.arange(cells.shape[-1], device=cells.device)
    kept = (places[:-1, None] >= places).double()
    pruned = 1.0 - kept
    on = torch.einsum("wlshrc,ih->siwl", cells, kept)
    off = torch.einsum("wlshrc,ih->wilrc", cells, pruned)
    filled, empty = (torch.einsum("wilrc,ir->wilc", off, rows) for rows in (kept, pruned))
    types = [
        (empty * pruned[:, None]).sum(-1),
        (empty * kept[:, None]).sum(-1),
        (filled * pruned[:, None]).sum(-1),
        on[1].transpose(0, 1),
        on[0].transpose(0, 1),
        (filled * kept[:, None]).sum(-1),
    ]
    return torch.stack([own[:, :, None].expand_as(types[0]), *(part.cumsum(2) for part in types)], dim=-1)
