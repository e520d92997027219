"""The additive parts of a GLOBA merge, their energies and inner products."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Integer, UInt8
from torch import Tensor

from analysis.overlap import OVERLAP_TYPES, overlap_types

ONLY_ANCHOR = 7
"""Code of a picture's cell where only the anchor's matrix has entries."""


@dataclass(frozen=True)
class Component:
    """One part of the merge: C̃ of the anchor (`pattern` ``C1``), or one overlap type of another task."""

    pattern: str
    task: int
    count: int
    energy: float


@dataclass(frozen=True)
class ComponentTable:
    """All parts of one layer with every number that predicts a merge from coefficients alone.

    `gram[p, q]` is the inner product of parts p and q, `cross[p, i]` that of part p with the truncated, unpruned task
    vector i, both in the units of energy (sums of products of weights). Because the bases are orthonormal these are
    inner products of the weight matrices too.
    """

    components: tuple[Component, ...]
    gram: Float[Tensor, "parts parts"]
    cross: Float[Tensor, "parts tasks"]
    task_energy: tuple[float, ...]


def component_table(
    cores: Sequence[Float[Tensor, "rows cols"]], pruned: Sequence[Float[Tensor, "rows cols"]], anchor: int
) -> ComponentTable:
    """Split the pruned matrices into parts and measure them.

    Parameters
    ----------
    cores, pruned
        Ĉ_i and C̃_i of every task.
    anchor
        Index (from 0) of the task whose C̃ plays C̃_1.

    Returns
    -------
    The parts: ``C1``, then A, B, C, D+, D−, E of every other task in order.

    Notes
    -----
    O(T² N) time for N entries and T tasks; a few temporaries of N float64.

    References
    ----------
    GLOBA, equations 15–17; appendix, equations 25–33.
    """
    whole = torch.ones_like(pruned[anchor], dtype=torch.uint8)
    codes = [whole if i == anchor else overlap_types(pruned[anchor], core) for i, core in enumerate(pruned)]
    order = [anchor, *(i for i in range(len(pruned)) if i != anchor)]
    labels = [
        (i, "C1") if i == anchor else (i, kind.label) for i in order for kind in OVERLAP_TYPES[: _parts(i, anchor)]
    ]
    gram = torch.cat([torch.cat([_inner(codes, pruned, row, col, anchor) for col in order], dim=1) for row in order])
    cross = torch.cat(
        [torch.stack([_sums(codes[i], pruned[i] * core, _parts(i, anchor)) for core in cores], dim=1) for i in order]
    )
    counts = torch.cat([_sums(codes[i], (pruned[i] != 0).double(), _parts(i, anchor)) for i in order])
    return ComponentTable(
        components=tuple(
            Component(pattern, task, int(counts[row]), float(gram[row, row]))
            for row, (task, pattern) in enumerate(labels)
        ),
        gram=gram,
        cross=cross,
        task_energy=tuple(float(core.square().sum()) for core in cores),
    )


def _parts(task: int, anchor: int) -> int:
    """Number of parts a task splits into: the anchor is one, every other task six."""
    return 1 if task == anchor else len(OVERLAP_TYPES)


def _sums(codes: UInt8[Tensor, "rows cols"], values: Float[Tensor, "rows cols"], parts: int) -> Float[Tensor, " parts"]:
    """Sum of `values` over the entries of each code 1 … parts."""
    return _weighted_count(codes, values, parts + 1)[1:]


def _inner(
    codes: Sequence[UInt8[Tensor, "rows cols"]],
    pruned: Sequence[Float[Tensor, "rows cols"]],
    first: int,
    second: int,
    anchor: int,
) -> Float[Tensor, "_ _"]:
    """Inner products of the parts of two tasks; parts of one task have disjoint entries."""
    rows, cols = _parts(first, anchor), _parts(second, anchor)
    joint = codes[first].long() * (cols + 1) + codes[second]
    sums = _weighted_count(joint, pruned[first] * pruned[second], (rows + 1) * (cols + 1))
    return sums.view(rows + 1, cols + 1)[1:, 1:]


def type_picture(
    anchor: Float[Tensor, "rows cols"],
    other: Float[Tensor, "rows cols"],
    height: int = 64,
    width: int = 128,
) -> UInt8[Tensor, "_ _"]:
    """Reduce a type map to at most height × width cells; each shows the type with most energy in its tile.

    Codes are those of `OverlapType`, and `ONLY_ANCHOR` where only the anchor's matrix has entries.
    """
    types = overlap_types(anchor, other)
    rows, cols = types.shape
    if types.numel() == 0:
        return types
    row_of = torch.arange(rows, device=types.device) * min(height, rows) // rows
    col_of = torch.arange(cols, device=types.device) * min(width, cols) // cols
    tile = row_of[:, None] * min(width, cols) + col_of
    cells = min(height, rows) * min(width, cols)
    energies = [
        _tile_energy(tile, torch.where(types == code, other, 0.0), cells) for code in range(1, len(OVERLAP_TYPES) + 1)
    ]
    best = torch.stack([*energies, _tile_energy(tile, torch.where(types == 0, anchor, 0.0), cells)])
    strongest, winner = best[:-1].max(dim=0)
    shown = torch.where(strongest > 0, winner + 1, torch.where(best[-1] > 0, ONLY_ANCHOR, 0))
    return shown.to(torch.uint8).view(min(height, rows), min(width, cols))


def _tile_energy(
    tile: Int64[Tensor, "rows cols"], values: Float[Tensor, "rows cols"], cells: int
) -> Float[Tensor, " cells"]:
    """Sum of squares per tile."""
    return _weighted_count(tile, values.double().square(), cells)


def _weighted_count(
    codes: Integer[Tensor, "rows cols"], values: Float[Tensor, "rows cols"], size: int
) -> Float[Tensor, " size"]:
    """Sum of `values` per code 0 … size − 1, in float64 also where there are none."""
    return torch.bincount(codes.flatten(), weights=values.flatten(), minlength=size).double()
