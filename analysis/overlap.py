"""The six overlap types of one task's entries against another's."""

from collections.abc import Iterator
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor


class OverlapType(IntEnum):
    """Code of every overlap type in a type map; 0 marks a zero entry of C̃_2. The paper's letter is the label."""

    NONE = 0
    DISJOINT = 1
    NEW_ROW = 2
    NEW_COLUMN = 3
    SAME_SIGN = 4
    OPPOSITE_SIGN = 5
    HOLE = 6

    @property
    def label(self) -> str:
        """Letter of the paper: A, B, C, D+, D- or E."""
        return ("", "A", "B", "C", "D+", "D-", "E")[self]


OVERLAP_TYPES = tuple(kind for kind in OverlapType if kind is not OverlapType.NONE)

_CHUNK = 1 << 20
"""Entries that are typed at a time."""
_OFF_CODES = (OverlapType.DISJOINT, OverlapType.NEW_ROW, OverlapType.NEW_COLUMN, OverlapType.HOLE)


def overlap_types(anchor: Float[Tensor, "rows cols"], other: Float[Tensor, "rows cols"]) -> UInt8[Tensor, "rows cols"]:
    """Classify every non-zero entry of C̃_2 (`other`) against C̃_1 (`anchor`).

    ====  ================  =========================================================================
    type  name              condition on C̃_1 at a non-zero entry (r, c) of C̃_2
    ====  ================  =========================================================================
    A     disjoint          row r and column c are empty
    B     new row           row r is empty, column c is not: only the input direction is shared
    C     new column        row r is not empty, column c is: only the output direction is shared
    D+    same sign         entry (r, c) is non-zero and has the same sign
    D−    opposite sign     entry (r, c) is non-zero and has the other sign
    E     hole              entry (r, c) is zero, but row r and column c are not empty
    ====  ================  =========================================================================

    Returns
    -------
    `OverlapType` codes; the non-zero codes partition the non-zero entries of `other`.

    References
    ----------
    GLOBA, appendix, equations 25–33. The authors' code has B and C the other way round; we follow the appendix.
    """
    return torch.cat([codes for _, codes in overlap_types_by_rows(anchor, other)])


def overlap_types_by_rows(
    anchor: Float[Tensor, "rows cols"], other: Float[Tensor, "rows cols"]
) -> Iterator[tuple[slice, UInt8[Tensor, "some cols"]]]:
    """The same for some rows after others, for large matrices: positions take eight times the memory of the codes."""
    column = (anchor != 0).any(dim=0, keepdim=True)
    step = max(_CHUNK // max(other.shape[1], 1), 1)
    for start in range(0, max(other.shape[0], 1), step):
        rows = slice(start, start + step)
        codes = torch.zeros(other[rows].shape, dtype=torch.uint8, device=other.device)
        entries = torch.nonzero(other[rows].flatten()).flatten()
        codes.view(-1)[entries] = entry_types(anchor[rows], other[rows], entries, column)
        yield rows, codes


def entry_types(
    anchor: Float[Tensor, "rows cols"],
    other: Float[Tensor, "rows cols"],
    entries: Int64[Tensor, " entries"],
    column: Bool[Tensor, "1 cols"] | None = None,
) -> UInt8[Tensor, " entries"]:
    """Classify the non-zero entries of `other` at these row-major positions; see `overlap_types`.

    After pruning few entries are left, so that everything but the two scans of C̃_1 for empty rows and columns is cheap.
    `column` says which columns C̃_1 uses, where `anchor` is only a part of its rows.
    """
    filled = anchor != 0
    row = filled.any(dim=1, keepdim=True).to(torch.uint8)
    column = filled.any(dim=0, keepdim=True) if column is None else column
    # Codes of A, B, C and E in the order (row empty, column empty), (row empty, not), (not, column empty), (not, not).
    off = torch.tensor(_OFF_CODES, dtype=torch.uint8, device=anchor.device)
    empty = (2 * row + column.to(torch.uint8)).flatten()[entries]
    here, there = anchor.flatten()[entries], other.flatten()[entries]
    on = torch.where((here > 0) == (there > 0), OverlapType.SAME_SIGN.value, OverlapType.OPPOSITE_SIGN.value)
    return torch.where(here != 0, on.to(torch.uint8), off[empty.int()])
