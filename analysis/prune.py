"""Energy pruning of task interaction matrices."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from analysis.errors import OptionsError

_FEW = 1 << 14
"""Up to this many entries are sorted: it costs less than a histogram."""

_CHUNK = 1 << 20
"""Entries whose buckets are found at a time."""

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
    See `energy_levels`.

    References
    ----------
    GLOBA, equation 17.
    """
    return prune_in_place(core.clone(), eta, rounding)


def prune_in_place(core: Float[Tensor, "rows cols"], eta: float, rounding: float = 0.0) -> Float[Tensor, "rows cols"]:
    """The same in the memory of Ĉ_i, where that is not needed any more."""
    return core.masked_fill_(energy_levels(core, (eta,), rounding) > 0, 0.0)


def energy_levels(
    core: Float[Tensor, "rows cols"], etas: Sequence[float], rounding: float = 0.0
) -> UInt8[Tensor, "rows cols"]:
    """Compute for every entry how many of several thresholds prune it.

    Parameters
    ----------
    core, rounding
        See `prune_to_energy`.
    etas
        Shares of ``‖Ĉ_i‖_F²`` in (0, 1], ascending. What a smaller one keeps, a larger one keeps too.

    Returns
    -------
    The number of the smallest threshold, from 0, that keeps the entry; ``len(etas)`` where none does, or where the
    entry is zero.

    Notes
    -----
    O(N) for N entries: a histogram over the leading bits of the squares finds the bucket that crosses a threshold,
    and only that bucket, about 5 % of the entries, is sorted. Energies are summed in float64. Memory: the levels, and
    that bucket.

    References
    ----------
    GLOBA, equation 17.
    """
    if any(not 0.0 < eta <= 1.0 for eta in etas):
        msg = f"eta is {', '.join(map(str, etas))}: a share of energy lies in (0, 1]"
        raise OptionsError(msg)
    if core.numel() == 0:
        return torch.full(core.shape, len(etas), dtype=torch.uint8, device=core.device)
    squares = _Squares(core.flatten(), rounding)
    cuts = _cuts_by_sorting(squares, etas) if core.numel() <= _FEW else _cuts_by_histogram(squares, etas)
    return _levels(squares, cuts).view_as(core)


class _Squares:
    """The squares of all entries in float64, in order, some at a time and as often as asked; 0 for what is rounding."""

    def __init__(self, entries: Float[Tensor, " entries"], rounding: float) -> None:
        self._parts = torch.split(entries, _CHUNK)
        self._smallest = rounding * max(float(part.abs().max()) for part in self._parts) if rounding else 0.0

    def __iter__(self) -> Iterator[Float[Tensor, " some"]]:
        for part in self._parts:
            magnitudes = part.abs()
            yield magnitudes.masked_fill_(magnitudes <= self._smallest, 0.0).double().square_()


@dataclass(frozen=True)
class _Cut:
    """Where a threshold cuts: squares above `smallest` are kept, and the first `ties` of the `equal` that equal it."""

    smallest: float
    ties: int
    equal: int


_ALL = _Cut(0.0, 0, 0)
_NONE = _Cut(math.inf, 0, 0)


def _levels(squares: Iterable[Float[Tensor, " _"]], cuts: Sequence[_Cut]) -> UInt8[Tensor, " entries"]:
    found, ties = [], [cut.ties for cut in cuts]
    for part in squares:
        levels = torch.zeros(part.shape, dtype=torch.uint8, device=part.device)
        for number, cut in enumerate(cuts):
            levels += part <= cut.smallest if cut.ties == 0 else part < cut.smallest
            if cut.ties < cut.equal and cut.ties:
                equal = torch.nonzero(part == cut.smallest).flatten()
                levels[equal[ties[number] :]] += 1
                ties[number] = max(ties[number] - equal.shape[0], 0)
        found.append(levels)
    return torch.cat(found)


def _cuts_by_sorting(squares: Iterable[Float[Tensor, " _"]], etas: Sequence[float]) -> list[_Cut]:
    """Find the cuts that keep the fewest entries which reach each share, largest first; the plain way, O(N log N)."""
    ordered = torch.sort(torch.cat(list(squares)), descending=True).values
    cumulative = ordered.cumsum(0)
    return [_cut(ordered, cumulative, eta * float(cumulative[-1])) if eta < 1.0 else _ALL for eta in etas]


def _cuts_by_histogram(squares: Iterable[Float[Tensor, " _"]], etas: Sequence[float]) -> list[_Cut]:
    """Find the same cuts without sorting all entries, in two passes over them.

    The bits of a positive float64, read as an integer, are in the order of the numbers; the leading ones are a bucket.
    """
    size = 1 << (63 - _DROPPED_BITS)
    energies = sum(torch.bincount(_buckets(part), weights=part, minlength=size) for part in squares)
    assert isinstance(energies, Tensor)
    cumulative = energies.flip(0).cumsum(0)
    targets = [eta * float(cumulative[-1]) for eta in etas]
    # Counted from the bucket of the largest squares; none where there is no energy at all.
    crossing = [_count(cumulative, target) - 1 if eta < 1.0 else -1 for eta, target in zip(etas, targets, strict=True)]
    inside = _in_buckets(squares, {size - 1 - above for above in crossing if above >= 0})
    cuts = []
    for eta, target, above in zip(etas, targets, crossing, strict=True):
        if above < 0:
            cuts.append(_ALL if eta == 1.0 else _NONE)
            continue
        reached = float(cumulative[above - 1]) if above else 0.0
        ordered = inside[size - 1 - above]
        cuts.append(_cut(ordered, reached + ordered.cumsum(0), target))
    return cuts


def _buckets(squares: Float[Tensor, " some"]) -> Int64[Tensor, " some"]:
    return squares.view(torch.int64) >> _DROPPED_BITS


def _in_buckets(squares: Iterable[Float[Tensor, " _"]], wanted: Collection[int]) -> dict[int, Float[Tensor, " _"]]:
    """The squares in each of some buckets, largest first."""
    found: dict[int, list[Tensor]] = {bucket: [] for bucket in wanted}
    for part in squares if wanted else ():
        buckets = _buckets(part)
        for bucket, parts in found.items():
            parts.append(part[buckets == bucket])
    return {bucket: torch.sort(torch.cat(parts), descending=True).values for bucket, parts in found.items()}


def _cut(ordered: Float[Tensor, " entries"], cumulative: Float[Tensor, " entries"], target: float) -> _Cut:
    """Where the energy of descending squares, all that are equal among them, reaches `target`."""
    count = _count(cumulative, target)
    if count == 0:
        return _NONE
    smallest = float(ordered[count - 1])
    equal = ordered == smallest
    return _Cut(smallest, int(equal[:count].sum()), int(equal.sum()))


def _count(cumulative: Float[Tensor, " entries"], target: float) -> int:
    """How many leading entries reach `target`; none where there is nothing to reach."""
    if float(cumulative[-1]) == 0.0:
        return 0
    return min(int((cumulative < target).sum()) + 1, cumulative.shape[0])
