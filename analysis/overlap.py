"""The six overlap types of one task's entries against another's."""

from enum import IntEnum

import torch
from jaxtyping import Float, Int64, UInt8
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
    codes = torch.zeros(other.shape, dtype=torch.uint8, device=other.device)
    entries = torch.nonzero(other.flatten()).flatten()
    codes.view(-1)[entries] = entry_types(anchor, other, entries)
    return codes


def entry_types(
    anchor: Float[Tensor, "rows cols"], other: Float[Tensor, "rows cols"], entries: Int64[Tensor, " entries"]
) -> UInt8[Tensor, " entries"]:
    """Classify the non-zero entries of `other` at these row-major positions; see `overlap_types`.

    After pruning few entries are left, so that everything but the two scans of C̃_1 for empty rows and columns is cheap.
    """
    filled = anchor != 0
    row = filled.any(dim=1, keepdim=True).to(torch.uint8)
    column = filled.any(dim=0, keepdim=True).to(torch.uint8)
    # Codes of A, B, C and E in the order (row empty, column empty), (row empty, not), (not, column empty), (not, not).
    off = torch.tensor(_OFF_CODES, dtype=torch.uint8, device=anchor.device)
    empty = (2 * row + column).flatten()[entries]
    here, there = anchor.flatten()[entries], other.flatten()[entries]
    on = torch.where((here > 0) == (there > 0), OverlapType.SAME_SIGN.value, OverlapType.OPPOSITE_SIGN.value)
    return torch.where(here != 0, on.to(torch.uint8), off[empty.int()])
