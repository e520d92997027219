"""The few strongest singular triplets of a matrix, from a good guess of where they lie."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import LinAlgError
from analysis.merge.triplets import Triplets

SMALLEST_SIDE = 384
"""Below this a full decomposition costs little more."""
RESOLVED = 1e-4
"""Largest accepted ``‖τᵀu − σv‖/σ``: the angle to the true direction is about that over the relative gap."""

SMALLEST_BLOCK = 48
"""Columns of an iteration: half as many again as are wanted converge in few steps."""

_SEED = 77
_ENOUGH = {torch.float32: 2e-5, torch.float64: 1e-6}
"""Residual at which the iteration stops, above what rounding leaves."""
_NOISE = {torch.float32: 1e-5, torch.float64: 1e-6}
"""Share of σ_1 below which a value is rounding."""
_MOST_STEPS = 6


def strongest_triplets(matrix: Float[Tensor, "rows cols"], near: Float[Tensor, "cols size"], count: int) -> Triplets:
    """Find up to `count` leading triplets by block Krylov iteration with Rayleigh–Ritz steps.

    Parameters
    ----------
    matrix
        In float32 or float64, finite.
    near
        Columns whose span is near the wanted right singular vectors; need not be orthonormal, and may be few or none.
    count
        Most triplets wanted.

    Returns
    -------
    The leading triplets whose residual is below `RESOLVED`, as float64: fewer than `count` where values lie so close
    together that only a full decomposition would tell their directions apart. None of a zero matrix, of one whose
    entries overflowed, and where LAPACK does not converge.

    Notes
    -----
    ``4 m n l`` in the dtype of the matrix for each of at most six steps with l columns of `near`, three where values
    lie too close together from the first on; a full decomposition below `SMALLEST_SIDE`.

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
    if min(matrix.shape) < max(SMALLEST_SIDE, 4 * near.shape[1]):
        left, values, right = torch.linalg.svd(matrix.double() / scale, full_matrices=False)
        kept = min(count, int((values > 1e-6 * values[0]).sum()))
        return Triplets(left[:, :kept], values[:kept] * scale, right.mT[:, :kept])
    space = torch.linalg.qr(_padded(near).to(matrix.dtype))[0]
    enough = _ENOUGH[matrix.dtype]
    outputs, images = space.new_zeros(matrix.shape[0], 0), space[:, :0]
    found, unresolved, block = None, space.new_ones(1), space
    best = math.inf
    for step in range(_MOST_STEPS):
        if found is not None:
            block = _beyond(space, images[:, -block.shape[1] :])
            space = torch.cat([space, block], dim=1)
        outputs = torch.cat([outputs, matrix @ (block / scale)], dim=1)
        images = torch.cat([images, matrix.mT @ (outputs[:, -block.shape[1] :] / scale)], dim=1)
        found, unresolved = _ritz(space, outputs, images, count)
        shrinks, best = float(unresolved.min()) / best, float(unresolved.min())
        hopeless = step > 1 and best * shrinks ** (_MOST_STEPS - 1 - step) > RESOLVED
        if float(unresolved.max()) <= enough or hopeless or 2 * space.shape[1] > matrix.shape[1]:
            break
    assert found is not None
    kept = int((unresolved.cummax(0).values <= RESOLVED).sum())
    return Triplets(found.left[:, :kept], found.values[:kept] * scale, found.right[:, :kept])


def _padded(near: Float[Tensor, "cols size"]) -> Float[Tensor, "cols padded"]:
    """Enough columns for an iteration, the missing ones random."""
    missing = max(SMALLEST_BLOCK - near.shape[1], 0)
    random = torch.randn(near.shape[0], missing, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    return torch.cat([near.double(), random.to(near.device)], dim=1)


def _beyond(space: Float[Tensor, "cols size"], image: Float[Tensor, "cols block"]) -> Float[Tensor, "cols block"]:
    """Orthonormal columns for what a block adds to a space; three times, for a block may add next to nothing."""
    for _ in range(3):
        image = torch.linalg.qr(image - space @ (space.mT @ image))[0]
    return image


def _ritz(
    space: Float[Tensor, "cols size"],
    outputs: Float[Tensor, "rows size"],
    images: Float[Tensor, "cols size"],
    count: int,
) -> tuple[Triplets, Float[Tensor, " count"]]:
    """Best triplets within a space, with ``τ X`` and ``τᵀτ X`` known, and their relative residuals, in float64."""
    wide = outputs.double()
    squares, mixing = torch.linalg.eigh(wide.mT @ wide)
    squares, mixing = squares.flip(0)[:count], mixing.flip(1)[:, :count]
    above = squares > _NOISE[outputs.dtype] ** 2 * squares[0]
    values, mixing = squares[above].sqrt(), mixing[:, above]
    right = space.double() @ mixing
    residual = (images.double() @ mixing) / values - right * values
    return Triplets(wide @ mixing / values, values, right), residual.norm(dim=0) / values
