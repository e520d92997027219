"""The few strongest singular triplets of a matrix, from a good guess of where they lie."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import LinAlgError
from analysis.merge.triplets import Triplets
from analysis.range_finder import backward, forward

SMALLEST_SIDE = 384
"""Below this a full decomposition costs little more."""
RESOLVED = 1e-4
"""Largest accepted ``‖τᵀu − σv‖/σ``: the angle to the true direction is about that over the relative gap."""

_ENOUGH = 1e-6
_MOST_STEPS = 6


def strongest_triplets(matrix: Float[Tensor, "rows cols"], near: Float[Tensor, "cols size"], count: int) -> Triplets:
    """Find up to `count` leading triplets by block Krylov iteration with Rayleigh–Ritz steps.

    Parameters
    ----------
    matrix
        In float32 or float64, finite.
    near
        Columns whose span is near the wanted right singular vectors; need not be orthonormal.
    count
        Most triplets wanted.

    Returns
    -------
    The leading triplets whose residual is below `RESOLVED`, in float64: fewer than `count` where values lie so close
    together that only a full decomposition would tell their directions apart. None of a zero matrix, of one whose
    entries overflowed, and where LAPACK does not converge.

    Notes
    -----
    ``4 m n l`` for each of at most six steps with l columns of `near`; a full decomposition below `SMALLEST_SIDE`.

    References
    ----------
    Musco and Musco, 2015, algorithm 2.
    """
    scale = float(matrix.abs().max()) if matrix.numel() else 0.0
    none = Triplets(
        *(matrix.new_zeros(*size, dtype=torch.float64) for size in ((matrix.shape[0], 0), (0,), (matrix.shape[1], 0)))
    )
    if not 0.0 < scale < math.inf:
        return none
    try:
        return _strongest(matrix, near, count, scale)
    except LinAlgError:
        return none


def _strongest(
    matrix: Float[Tensor, "rows cols"], near: Float[Tensor, "cols size"], count: int, scale: float
) -> Triplets:
    if min(matrix.shape) < SMALLEST_SIDE or near.shape[1] * 3 > min(matrix.shape):
        left, values, right = torch.linalg.svd(matrix.double() / scale, full_matrices=False)
        kept = min(count, int((values > 1e-6 * values[0]).sum()))
        return Triplets(left[:, :kept], values[:kept] * scale, right.mT[:, :kept])
    return _krylov(matrix, near, count, scale)


def _krylov(matrix: Float[Tensor, "rows cols"], near: Float[Tensor, "cols size"], count: int, scale: float) -> Triplets:
    space = torch.linalg.qr(near.double())[0]
    outputs, images, block = space.new_zeros(matrix.shape[0], 0), space[:, :0], space
    for step in range(_MOST_STEPS):
        outputs = torch.cat([outputs, forward(matrix, block, scale)], dim=1)
        image = backward(matrix, outputs[:, -block.shape[1] :], scale)
        images = torch.cat([images, image], dim=1)
        found, residuals = _ritz(space, outputs, images, count)
        if step == _MOST_STEPS - 1 or bool((residuals <= _ENOUGH).all()):
            break
        for _ in range(2):
            image = image - space @ (space.mT @ image)
        block = torch.linalg.qr(image)[0]
        space = torch.cat([space, block], dim=1)
    kept = int((residuals > RESOLVED).int().cumsum(0).eq(0).sum())
    return Triplets(found.left[:, :kept], found.values[:kept] * scale, found.right[:, :kept])


def _ritz(
    space: Float[Tensor, "cols size"],
    outputs: Float[Tensor, "rows size"],
    images: Float[Tensor, "cols size"],
    count: int,
) -> tuple[Triplets, Float[Tensor, " count"]]:
    """Best triplets within a space, with ``τ X`` and ``τᵀτ X`` known, and their relative residuals."""
    squares, mixing = torch.linalg.eigh(outputs.mT @ outputs)
    squares, mixing = squares.flip(0)[:count], mixing.flip(1)[:, :count]
    above = squares > 1e-12 * squares[0]
    values, mixing = squares[above].sqrt(), mixing[:, above]
    right = space @ mixing
    residual = (images @ mixing) / values - right * values
    return Triplets(outputs @ mixing / values, values, right), residual.norm(dim=0) / values
