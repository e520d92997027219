"""Energy pruning of task interaction matrices."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.errors import OptionsError

_FEW = 1 << 14
"""Up to this many entries are sorted: it costs less than a histogram."""

_DROPPED_BITS = 49
"""Bits of a square that do not choose its bucket: 11 of exponent and 3 of mantissa remain, 12 % from edge to edge."""


def prune_to_energy(core: Float[Tensor, "rows cols"], eta: float, rounding: float = 0.0) -> Float[Tensor, "rows cols"]:
    """Keep the entries of largest square whose energy reaches `eta` of the total, and zero the rest.

    Parameters
    ----------
    core
        A task interaction matrix Ĉ_i.
    eta
        Share of ``‖Ĉ_i‖_F²`` in (0, 1]. The smallest number of entries that reaches it is kept; lowering it empties
        rows and columns, which turns D and E entries of the other task into A, B and C. 1 keeps every non-zero entry.
    rounding
        Entries at or below this share of the largest magnitude are rounding and count as zero whatever `eta` is:
        otherwise a position that is empty in exact arithmetic would count as used.

    Returns
    -------
    C̃_i, a new matrix. Entries of equal square are kept in row-major order. All zero where `core` is.

    Notes
    -----
    O(N) for N entries: a histogram over the leading bits of the squares finds the bucket that crosses the threshold,
    and only that bucket, about 5 % of the entries, is sorted. Energies are summed in float64. Memory: the result and
    2 N float64.

    References
    ----------
    GLOBA, equation 17.
    """
    if not 0.0 < eta <= 1.0:
        msg = f"eta is {eta}: a share of energy lies in (0, 1]"
        raise OptionsError(msg)
    if core.numel() == 0:
        return core.clone()
    squares = core.abs()
    above_rounding = squares > rounding * squares.max()
    if eta == 1.0:
        return torch.where(above_rounding, core, 0.0)
    squares = squares.double().mul_(above_rounding).square_()
    del above_rounding
    select = _by_sorting if squares.numel() <= _FEW else _by_histogram
    return torch.where(select(squares.flatten(), eta).view_as(core), core, 0.0)


def _by_sorting(squares: Float[Tensor, " entries"], eta: float) -> Bool[Tensor, " entries"]:
    """Mark the fewest entries that reach `eta` of the sum, largest first; the plain way, O(N log N)."""
    ordered, order = torch.sort(squares, descending=True, stable=True)
    cumulative = ordered.cumsum(0)
    mask = torch.zeros_like(squares, dtype=torch.bool)
    mask[order[: _count(cumulative, eta * float(cumulative[-1]))]] = True
    return mask


def _by_histogram(squares: Float[Tensor, " entries"], eta: float) -> Bool[Tensor, " entries"]:
    """Mark the same entries without sorting them all.

    The bits of a positive float64, read as an integer, are in the order of the numbers; the leading ones are a bucket.
    """
    bits = squares.view(torch.int64)
    keys = bits >> _DROPPED_BITS
    energies = torch.bincount(keys, weights=squares, minlength=1 << (63 - _DROPPED_BITS))
    cumulative = energies.flip(0).cumsum(0)
    target = eta * float(cumulative[-1])
    above = _count(cumulative, target) - 1
    if above < 0:
        return torch.zeros_like(squares, dtype=torch.bool)
    bucket = energies.shape[0] - 1 - above
    reached = float(cumulative[above - 1]) if above else 0.0
    mask = bits >= (bucket + 1) << _DROPPED_BITS
    candidates = torch.nonzero(keys == bucket).flatten()
    ordered, order = torch.sort(squares[candidates], descending=True, stable=True)
    mask[candidates[order[: _count(reached + ordered.cumsum(0), target)]]] = True
    return mask


def _count(cumulative: Float[Tensor, " entries"], target: float) -> int:
    """How many leading entries reach `target`; none where there is nothing to reach."""
    if float(cumulative[-1]) == 0.0:
        return 0
    return min(int((cumulative < target).sum()) + 1, cumulative.shape[0])
