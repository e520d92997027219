"""The additive parts of a GLOBA merge, their energies and inner products."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Integer, UInt8
from torch import Tensor

from analysis.overlap import OVERLAP_TYPES, entry_types

_CHUNK = 1 << 18
"""Entries that are looked at at a time: few enough that what is known of them stays small beside a layer."""
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
    cores: Sequence[Float[Tensor, "rows cols"]], kept: Sequence[Bool[Tensor, "rows cols"]], anchor: int
) -> ComponentTable:
    """Split the pruned matrices into parts and measure them.

    Parameters
    ----------
    cores, kept
        Ĉ_i of every task, and which of its entries C̃_i keeps.
    anchor
        Index (from 0) of the task whose C̃ plays C̃_1.

    Returns
    -------
    The parts: ``C1``, then A, B, C, D+, D−, E of every other task in order.

    Notes
    -----
    A few passes over the non-zero entries of each pair of tasks, O(T² nnz), and one scan of every C̃ to find them. By
    rows: what is known of an entry takes several times the memory of the entry itself.

    References
    ----------
    GLOBA, equations 15–17; appendix, equations 25–33.
    """
    order = [anchor, *(i for i in range(len(cores)) if i != anchor)]
    labels = [(task, label) for task in order for label in _labels(task, anchor)]
    counts = torch.zeros(len(labels), dtype=torch.int64, device=cores[0].device)
    gram = cores[0].new_zeros(len(labels), len(labels), dtype=torch.float64)
    cross = gram.new_zeros(len(labels), len(cores))
    column = (kept[anchor] & (cores[anchor] != 0)).any(dim=0, keepdim=True)
    step = max(_CHUNK // max(cores[0].shape[1], 1), 1)
    for rows in (slice(start, start + step) for start in range(0, cores[0].shape[0], step)):
        some = [core[rows] for core in cores]
        pruned = [torch.where(mask[rows], core, 0.0) for mask, core in zip(kept, some, strict=True)]
        entries = [_entries(pruned, task, anchor, column) for task in order]
        counts += torch.cat([torch.bincount(part.codes, minlength=part.parts) for part in entries])
        gram += _gram(pruned, entries)
        cross += torch.cat([_cross(some, part) for part in entries])
    return ComponentTable(
        components=tuple(
            Component(pattern, task, int(counts[row]), float(gram[row, row]))
            for row, (task, pattern) in enumerate(labels)
        ),
        gram=gram,
        cross=cross,
        task_energy=tuple(float(core.flatten() @ core.flatten()) for core in cores),
    )


def _labels(task: int, anchor: int) -> list[str]:
    """The parts of a task: the anchor is one, every other task six."""
    return ["C1"] if task == anchor else [kind.label for kind in OVERLAP_TYPES]


@dataclass(frozen=True)
class _Entries:
    """The non-zero entries of one C̃: row-major places, values, and the part (from 0) that each belongs to."""

    task: int
    parts: int
    places: Int64[Tensor, " entries"]
    values: Float[Tensor, " entries"]
    codes: Integer[Tensor, " entries"]

    def energies(self) -> Float[Tensor, " parts"]:
        """Sum of squares of every part."""
        return _sums(self.codes, self.values.square(), self.parts)


def _entries(
    pruned: Sequence[Float[Tensor, "rows cols"]], task: int, anchor: int, column: Bool[Tensor, "1 cols"]
) -> _Entries:
    """Find the entries of a task; `column` says which columns the anchor's whole matrix uses."""
    places = torch.nonzero(pruned[task].flatten()).flatten()
    values = pruned[task].flatten()[places]
    if task == anchor:
        return _Entries(task, 1, places, values, torch.zeros_like(places))
    codes = entry_types(pruned[anchor], pruned[task], places, column).long() - 1
    return _Entries(task, len(OVERLAP_TYPES), places, values, codes)


def _cross(cores: Sequence[Float[Tensor, "rows cols"]], part: _Entries) -> Float[Tensor, "parts tasks"]:
    """Inner products of the parts of one task with the unpruned matrices."""
    columns = [_sums(part.codes, part.values * core.flatten()[part.places], part.parts) for core in cores]
    return torch.stack(columns, dim=1)


def _gram(pruned: Sequence[Float[Tensor, "rows cols"]], order: Sequence[_Entries]) -> Float[Tensor, "parts parts"]:
    """Inner products of all parts, the anchor's first; parts of one task have disjoint entries."""
    blocks = {}
    for row, first in enumerate(order):
        blocks[row, row] = torch.diag(first.energies())
        for col, second in enumerate(order[:row]):
            blocks[row, col] = _inner(pruned, first, second)
            blocks[col, row] = blocks[row, col].mT
    size = range(len(order))
    return torch.cat([torch.cat([blocks[row, col] for col in size], dim=1) for row in size])


def _inner(
    pruned: Sequence[Float[Tensor, "rows cols"]], first: _Entries, second: _Entries
) -> Float[Tensor, "first second"]:
    """Inner products of the parts of two different tasks, over the entries that both have."""
    there = pruned[second.task].flatten()[first.places]
    joint = first.codes * second.parts
    if second.parts > 1:
        # The places of the second task are sorted, so a search finds the part; where it has no entry `there` is 0.
        place = torch.searchsorted(second.places, first.places).clamp(max=max(second.places.shape[0] - 1, 0))
        joint = joint + (second.codes[place] if second.places.numel() else 0)
    return _sums(joint, first.values * there, first.parts * second.parts).view(first.parts, second.parts)


def _sums(codes: Integer[Tensor, " entries"], values: Float[Tensor, " entries"], size: int) -> Float[Tensor, " size"]:
    """Sum of `values` per code 0 … size − 1, in float64 also where there are none."""
    return torch.bincount(codes, weights=values, minlength=size).double()


def type_picture(
    anchor: Float[Tensor, "rows cols"],
    other: Float[Tensor, "rows cols"],
    height: int = 64,
    width: int = 128,
) -> UInt8[Tensor, "_ _"]:
    """Reduce a type map to at most height × width cells; each shows the type with most energy in its tile.

    Codes are those of `OverlapType`, and `ONLY_ANCHOR` where only the anchor's matrix has entries.
    """
    rows, cols = other.shape
    if other.numel() == 0:
        return torch.zeros(rows, cols, dtype=torch.uint8, device=other.device)
    height, width = min(height, rows), min(width, cols)
    entries = torch.nonzero(other.flatten()).flatten()
    keys = _tiles(entries, other.shape, height, width) * len(OVERLAP_TYPES)
    keys += entry_types(anchor, other, entries) - 1
    size = height * width
    energies = _sums(keys, other.flatten()[entries].double().square(), size * len(OVERLAP_TYPES))
    strongest, winner = energies.view(size, -1).max(dim=1)
    alone = torch.nonzero(((anchor != 0) & (other == 0)).flatten()).flatten()
    only_anchor = torch.bincount(_tiles(alone, other.shape, height, width), minlength=size) > 0
    shown = torch.where(strongest > 0, winner + 1, torch.where(only_anchor, ONLY_ANCHOR, 0))
    return shown.to(torch.uint8).view(height, width)


def _tiles(
    entries: Int64[Tensor, " entries"], shape: Sequence[int], height: int, width: int
) -> Int64[Tensor, " entries"]:
    """Row-major number of the tile that each row-major position lies in."""
    rows, cols = shape
    row_of = torch.arange(rows, device=entries.device) * height // rows * width
    col_of = torch.arange(cols, device=entries.device) * width // cols
    row = entries // cols
    return row_of[row] + col_of[entries - row * cols]
