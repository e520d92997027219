"""What a list of singular values says: energy, ranks, and the knee of the energy curve."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def energy_curve(spectrum: Float[Tensor, " computed"], total: float | None = None) -> Float[Tensor, " computed"]:
    """Compute the cumulative energy ``E(k) = Σ_{j≤k} σ_j² / Σ σ²`` for k = 1 … in float64 (GLOBA, appendix, step 1).

    `total` is ``Σ σ² = ‖τ‖_F²`` where `spectrum` holds only the leading values.
    """
    squares = spectrum.double().square()
    whole = float(squares.sum()) if total is None else total
    return squares.cumsum(0) / whole if whole > 0 else torch.zeros_like(squares)


def largest_rank_within(spectrum: Float[Tensor, " computed"], energy: float, total: float | None = None) -> int:
    """Count the leading values whose cumulative energy is at most `energy`: ``max(1, #{j : e_1+…+e_j ≤ energy})``.

    This is the rule of the authors' code for task vectors: it stops just under the threshold. 0 for a zero spectrum.
    """
    if spectrum.numel() == 0 or float(spectrum[0]) == 0.0:
        return 0
    if energy >= 1.0:
        return spectrum.shape[0]
    return max(1, int((energy_curve(spectrum, total) <= energy).sum()))


def rank_reaching(spectrum: Float[Tensor, " computed"], energy: float, total: float | None = None) -> int | None:
    """`smallest_rank_reaching` where `spectrum` may hold only the leading values; None where they do not reach it."""
    if total is None:
        return smallest_rank_reaching(spectrum, energy)
    reached = torch.nonzero(energy_curve(spectrum, total) >= energy)
    return int(reached[0]) + 1 if reached.numel() else None


def smallest_rank_reaching(spectrum: Float[Tensor, " full"], energy: float) -> int:
    """Find the fewest leading values whose cumulative energy is at least `energy`.

    This is the rule of the authors' code for the global basis (``searchsorted + 1``). 0 for a zero spectrum.
    """
    if spectrum.numel() == 0 or float(spectrum[0]) == 0.0:
        return 0
    if energy >= 1.0:
        return int((spectrum > 0).sum())
    below = int((energy_curve(spectrum) < energy).sum())
    return min(below + 1, spectrum.shape[0])


def numerical_rank(spectrum: Float[Tensor, " full"], largest_side: int, dtype: torch.dtype) -> int:
    """Count the values above ``σ_1 · √max(m, n) · eps(dtype)``.

    Rounding every entry of an m×n matrix to `dtype` moves its singular values by about ``eps (√m + √n)`` times the
    root mean square of the entries, which is at most this bound; the decompositions themselves run in float64.
    """
    if spectrum.numel() == 0:
        return 0
    threshold = float(spectrum[0]) * math.sqrt(largest_side) * torch.finfo(dtype).eps
    return int((spectrum > threshold).sum())


def stable_rank(spectrum: Float[Tensor, " computed"], total: float | None = None) -> float:
    """Compute ``‖τ‖_F² / σ_1²``, between 1 and the rank; 0 for a zero matrix."""
    squares = spectrum.double().square()
    if squares.numel() == 0 or float(squares[0]) == 0.0:
        return 0.0
    return (float(squares.sum()) if total is None else total) / float(squares[0])


def effective_rank(spectrum: Float[Tensor, " full"]) -> float:
    """Compute ``exp(−Σ p_j log p_j)`` with ``p_j = σ_j / Σσ`` (Roy and Vetterli, 2007); 0 for a zero matrix."""
    values = spectrum.double()
    total = float(values.sum())
    if total == 0.0:
        return 0.0
    share = values[values > 0] / total
    return math.exp(-float((share * share.log()).sum()))


def knee(
    spectrum: Float[Tensor, " computed"], total: float | None = None, full: int | None = None
) -> tuple[int, float] | None:
    """Find the knee of the energy curve: the rank whose point lies farthest above the chord from (0, 0) to (r, 1).

    Returns the rank (from 1) and the energy there, which is the η that the curve suggests (GLOBA, appendix, Figure 1
    and step 2). (0, 0.0) for a zero matrix. Where `spectrum` holds only the leading of `full` values, the curve stays
    above the chord's slope for as long as ``σ_k²/total > 1/full``; None where the leading values do not show its end.
    """
    curve = energy_curve(spectrum, total)
    if curve.numel() == 0 or float(curve[-1]) == 0.0:
        return 0, 0.0
    count = curve.shape[0] if full is None else full
    if total is not None and curve.shape[0] < count and float(spectrum[-1]) ** 2 * count > total:
        return None
    ranks = torch.arange(1, curve.shape[0] + 1, dtype=torch.float64, device=curve.device)
    best = int(torch.argmax(curve - ranks / count))
    return best + 1, float(curve[best])
