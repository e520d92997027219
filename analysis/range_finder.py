"""Leading singular triplets by randomised subspace iteration, for task vectors of low rank."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import LinAlgError

SMALLEST_SIDE = 256
"""Below this a full decomposition costs less than the bookkeeping."""

STRONG = 0.1
"""Share of σ_1 from which a direction counts where those of sums are sought."""

_SEED = 4242
_FIRST_SHARE = 16
"""The first sketch has a 16th of the smaller side's columns: it costs a hundredth of a full decomposition."""
_OVERSAMPLING = 16
"""Columns more than that, so that a rank of a 16th is found at once."""
_SECOND_SHARE = 6
"""A sketch beyond a sixth of the smaller side costs as much as a full decomposition."""
_PROMISING = 0.9
"""Share of the wanted energy that the first sketch must hold for a larger one to be worth trying."""
_ALL = 0.999
"""The same where all of the energy is wanted: then the rest must be rounding."""
_EXACT_WORK = 0.5
"""Steps in float64 times the share of columns in the sketch: what may be spent before a full one is cheaper."""


@dataclass(frozen=True)
class Leading:
    """Leading triplets of a matrix, with every vector in float64 and values descending.

    `count` triplets meet the tolerance. `beyond` are the vectors, left and right, of those others of the sketch that
    are not small: only nearly singular vectors, and good for a start elsewhere.
    """

    left: Float[Tensor, "rows count"]
    values: Float[Tensor, " count"]
    right: Float[Tensor, "cols count"]
    beyond: tuple[Float[Tensor, "rows more"], Float[Tensor, "cols more"]]


def leading_triplets(
    matrix: Float[Tensor, "rows cols"], energy: float, total: float, smallest: float, scale: float
) -> Leading | None:
    """Find the triplets that hold `energy` of ``‖τ‖_F²``, or None where that takes a full decomposition.

    A seeded Gaussian sketch is multiplied by ``τᵀτ`` and re-orthonormalised, first in the dtype of τ, then in float64,
    with a Rayleigh–Ritz step each time. The sketch is large enough when the energy it holds, compared with the known
    total, exceeds what is wanted: then no singular value outside it can belong to the result. It has converged when
    ``‖τᵀτ v − σ² v‖`` is below the tolerance for every kept triplet.

    Parameters
    ----------
    matrix
        A tall task vector in float32 or float64, finite and not zero.
    energy
        Share of the total that truncation may keep.
    total
        ``‖τ/scale‖_F²``.
    smallest
        Singular values below this share of σ_1 count as zero (numerical rank).
    scale
        Largest magnitude in τ, to keep squares in range.

    Notes
    -----
    About ``12 m n l`` for a sketch of l columns and a spectrum that falls off behind the rank; ``4 m n l`` more for
    each further step. It gives up after a first sketch of ``min(m, n)/16`` columns where the energy is spread wide,
    and after one step in float64 where convergence is slow.

    References
    ----------
    Halko, Martinsson and Tropp, 2011, algorithms 4.4 and 5.1.
    """
    side = matrix.shape[1]
    promising = (_ALL if energy == 1.0 else _PROMISING * energy) * total
    try:
        for size in (side // _FIRST_SHARE + _OVERSAMPLING, side // _SECOND_SHARE):
            space = _sketch(matrix, size, promising, scale)
            if space is None:
                return None
            found = _refine(matrix, space, energy, total, smallest, scale)
            if found is not None:
                return found
    except LinAlgError:
        pass
    return None


def _sketch(
    matrix: Float[Tensor, "rows cols"], size: int, wanted: float, scale: float
) -> Float[Tensor, "cols size"] | None:
    """Orthonormal columns near the leading right singular space, by two steps in the dtype of τ.

    None where the space after one step holds less than `wanted` of ``‖τ/scale‖_F²``. One product with τᵀτ squares the
    spread of the values; the float64 steps bring back what that loses.
    """
    random = torch.randn(matrix.shape[1], size, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    outputs = matrix @ (random.to(matrix.device, matrix.dtype) / scale)
    outputs = matrix @ (torch.linalg.qr((outputs.mT @ matrix).mT / scale)[0] / scale)
    if float(outputs.double().square().sum()) < wanted:
        return None
    space: Tensor = torch.linalg.qr((outputs.mT @ matrix).mT / scale)[0]
    return space


def _refine(
    matrix: Float[Tensor, "rows cols"],
    space: Float[Tensor, "cols size"],
    energy: float,
    total: float,
    smallest: float,
    scale: float,
) -> Leading | None:
    """Iterate in float64 until the wanted triplets have converged; None where the sketch is too small or too slow."""
    wide = torch.linalg.qr(space.double())[0]
    steps = int(_EXACT_WORK * matrix.shape[1] / max(space.shape[1], 1))
    while steps > 0:
        outputs = forward(matrix, wide, scale)
        squares, mixing = torch.linalg.eigh(outputs.mT @ outputs)
        squares, mixing = squares.flip(0).clamp(min=0), mixing.flip(1)
        count = _wanted(squares, energy, total, smallest)
        if count is None:
            return None
        right, outputs = wide @ mixing, outputs @ mixing
        image = backward(matrix, outputs, scale)
        error = float((image - right * squares).norm(dim=0)[:count].max())
        missing = error / _tolerance(squares, count, matrix.dtype)
        if missing <= 1.0:
            values = squares.sqrt()
            more = slice(count, max(count, int((values > STRONG * values[0]).sum())))
            beyond = outputs[:, more] / values[more], right[:, more].clone()
            return Leading(outputs[:, :count] / values[:count], values[:count] * scale, right[:, :count], beyond)
        # Each step shrinks the error by the ratio of the last value in the sketch to the last one wanted.
        shrinks = float(squares[count - 1]) / max(float(squares[-1]), 1e-300)
        steps -= 1
        if math.log(missing) > steps * math.log(shrinks):
            return None
        wide = torch.linalg.qr(image)[0]
    return None


def _wanted(squares: Float[Tensor, " size"], energy: float, total: float, smallest: float) -> int | None:
    """How many leading values decide the rank; None where the sketch cannot tell.

    One more than the truncation keeps, so that the sum which exceeds the threshold is known too. Or all above the
    numerical rank, when what the sketch leaves out, ``√(total − Σ σ²) ≥ σ_{l+1}``, is itself below it.
    """
    size = squares.shape[0]
    floor = smallest**2 * float(squares[0])
    above = int((squares > floor).sum())
    within = int((squares.cumsum(0) <= energy * total).sum())
    if within < above:
        count = min(within + 1, above)
    elif total - float(squares.sum()) <= 0.5 * floor:
        count = above
    else:
        return None
    # Leakage from outside the sketch dies off with the ratio of the first value outside to the last one wanted.
    falls = float(squares[-1]) <= 0.5 * float(squares[count - 1])
    return count if 0 < count < size and falls else None


def _tolerance(squares: Float[Tensor, " size"], count: int, dtype: torch.dtype) -> float:
    """Largest accepted ``‖τᵀτ v − σ² v‖``: a share of the smallest wanted σ², but not below rounding of the largest."""
    share = 1e-11 if dtype == torch.float64 else 1e-8
    rounding = 50 * torch.finfo(torch.float64).eps
    return max(share * float(squares[count - 1]), rounding * float(squares[0]))


def forward(
    matrix: Float[Tensor, "rows cols"], space: Float[Tensor, "cols size"], scale: float, chunk: int = 1024
) -> Float[Tensor, "rows size"]:
    """``(τ/scale) X`` in float64 by row chunks."""
    space = space / scale
    parts = [matrix[start : start + chunk].double() @ space for start in range(0, matrix.shape[0], chunk)]
    return torch.cat(parts)


def backward(
    matrix: Float[Tensor, "rows cols"], outputs: Float[Tensor, "rows size"], scale: float, chunk: int = 1024
) -> Float[Tensor, "cols size"]:
    """``(τ/scale)ᵀ Y`` in float64 by row chunks."""
    # Transposed, because libraries multiply a thin matrix from the right many times slower.
    result = outputs.new_zeros(outputs.shape[1], matrix.shape[1])
    for start in range(0, matrix.shape[0], chunk):
        result.addmm_((outputs[start : start + chunk] / scale).mT, matrix[start : start + chunk].double())
    return result.mT
