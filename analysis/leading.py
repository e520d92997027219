"""The few strongest singular triplets of a matrix, from a good guess of where they lie."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import LinAlgError
from analysis.merge.triplets import Triplets

SMALLEST_SIDE = 128
"""Below this a full decomposition costs no more."""
SMALL_SIDE = 384
"""Below this a full decomposition finds what the iteration leaves undetermined."""
RESOLVED = 1e-4
"""Largest accepted ``‖τᵀu − σv‖/σ``: the angle to the true direction is about that over the relative gap."""

SMALLEST_BLOCK = 40
"""Columns of an iteration: a quarter more than are wanted converge in few steps."""

_SEED = 77
_ENOUGH = {torch.float32: 5e-5, torch.float64: 1e-6}
"""Residual at which the iteration stops, above what rounding leaves."""
_NOISE = {torch.float32: 1e-5, torch.float64: 1e-6}
"""Share of σ_1 below which a value is rounding."""
_MOST_STEPS = 6
_SQUARED = 1e-4
"""Smallest σ_r/σ_1 at which eigenvectors of a float64 Gram matrix do: they err by ``eps (σ_1/σ_r)²``, 2e-8."""
_NULL = 1e-6
"""Share of σ_1 below which a value of a full decomposition is rounding."""


@dataclass(frozen=True)
class Leading(Triplets):
    """Leading triplets of a matrix, with `back` for ``τᵀu_r``: ``σ_r v_r``, but for what the search left unresolved."""

    back: Float[Tensor, "cols rank"]


def strongest_triplets(matrix: Float[Tensor, "rows cols"], near: Float[Tensor, "cols size"], count: int) -> Leading:
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
    ``2 m n l`` in the dtype of the matrix for l columns of `near`, and ``4 m n`` times a quarter more than `count` for
    each of at most five more steps, two where values lie too close together from the first on, none where `near` spans
    the triplets; a full decomposition below `SMALLEST_SIDE`, and below `SMALL_SIDE` where
    the steps do not do.

    References
    ----------
    Musco and Musco, 2015, algorithm 2.
    """
    scale = max(abs(float(edge)) for edge in torch.aminmax(matrix)) if matrix.numel() else 0.0
    left, right = (matrix.new_zeros(side, 0, dtype=torch.float64) for side in matrix.shape)
    none = Leading(left, left.new_zeros(0), right, right)
    if not 0.0 < scale < math.inf:
        return none
    try:
        return _strongest(matrix, near, count, scale)
    except LinAlgError:
        return none


def _strongest(
    matrix: Float[Tensor, "rows cols"], near: Float[Tensor, "cols size"], count: int, scale: float
) -> Leading:
    side = min(matrix.shape)
    if side >= max(SMALLEST_SIDE, 4 * near.shape[1]):
        found, determined = _by_iteration(matrix, near, count, scale)
        if determined or side >= SMALL_SIDE:
            return found
    left, values, right = _by_decomposition(matrix.double() / scale, count)
    return Leading(left, values * scale, right, right * (values * scale))


def _by_decomposition(matrix: Float[Tensor, "rows cols"], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Leading triplets from the eigenvectors of the smaller Gram matrix, or from LAPACK's SVD where squaring loses."""
    if matrix.shape[0] < matrix.shape[1]:
        right, values, left = _by_decomposition(matrix.mT, count)
        return left, values, right
    squares, vectors = torch.linalg.eigh(matrix.mT @ matrix)
    values = squares.flip(0)[:count].clamp(min=0).sqrt()
    kept = int((values > _NULL * values[0]).sum())
    if kept and float(values[kept - 1]) > _SQUARED * float(values[0]):
        right = vectors.flip(1)[:, :kept]
        return matrix @ (right / values[:kept]), values[:kept], right
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = min(count, int((values > _NULL * values[0]).sum()))
    return left[:, :kept], values[:kept], right.mT[:, :kept]


def _by_iteration(
    matrix: Float[Tensor, "rows cols"], near: Float[Tensor, "cols size"], count: int, scale: float
) -> tuple[Leading, bool]:
    """Leading triplets that are resolved, and whether all are that there are."""
    enough = _ENOUGH[matrix.dtype]
    width = max(SMALLEST_BLOCK, count + count // 4)
    block = torch.linalg.qr(_padded(near, width).to(matrix.dtype))[0]
    space, outputs = block[:, :0], block.new_zeros(matrix.shape[0], 0)
    best, steps = math.inf, 0
    while True:
        steps += 1
        space = torch.cat([space, block], dim=1)
        outputs = torch.cat([outputs, matrix @ (block / scale)], dim=1)
        left, values, right = _ritz(space, outputs, width)
        back = (matrix.mT @ (left.to(matrix.dtype) / scale)).double()
        unresolved = ((back - right * values).norm(dim=0) / values)[:count]
        shrinks, best = float(unresolved.min()) / best, float(unresolved.min())
        hopeless = steps > 2 and best * shrinks ** (_MOST_STEPS - steps) > RESOLVED
        if float(unresolved.max()) <= enough or hopeless or steps == _MOST_STEPS or 2 * space.shape[1] > len(space):
            break
        block = _beyond(space, back)
        if not block.shape[1]:
            break
    kept = int((unresolved.cummax(0).values <= RESOLVED).sum())
    found = Leading(left[:, :kept], values[:kept] * scale, right[:, :kept], back[:, :kept] * scale)
    return found, kept == len(unresolved)


def _padded(near: Float[Tensor, "cols size"], width: int) -> Float[Tensor, "cols padded"]:
    """At least `width` columns, the missing ones random."""
    missing = max(width - near.shape[1], 0)
    random = torch.randn(near.shape[0], missing, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    return torch.cat([near.double(), random.to(near.device)], dim=1)


def _beyond(space: Float[Tensor, "cols size"], image: Float[Tensor, "cols block"]) -> Float[Tensor, "cols new"]:
    """Orthonormal columns for what a block adds to a space; none for what is rounding.

    By eigenvectors of the block's Gram matrix in float64, at a fifth of the time of QR; twice, for a block may add next
    to nothing.
    """
    wide, image = space.double(), image.double()
    rounding = torch.finfo(space.dtype).eps * image.norm(dim=0).max()
    for _ in range(2):
        image = image - wide @ (wide.mT @ image)
        squares, mixing = torch.linalg.eigh(image.mT @ image)
        new = squares > rounding**2
        image = image @ (mixing[:, new] / squares[new].sqrt())
        rounding = 0.5
    return image.to(space.dtype)


def _ritz(
    space: Float[Tensor, "cols size"], outputs: Float[Tensor, "rows size"], count: int
) -> tuple[Float[Tensor, "rows count"], Float[Tensor, " count"], Float[Tensor, "cols count"]]:
    """Up to `count` best triplets ``u, σ, v`` with v in a space whose image ``τ X`` is known, in float64."""
    wide = outputs.double()
    squares, mixing = torch.linalg.eigh(wide.mT @ wide)
    squares, mixing = squares.flip(0)[:count], mixing.flip(1)[:, :count]
    above = squares > _NOISE[outputs.dtype] ** 2 * squares[0]
    values, mixing = squares[above].sqrt(), mixing[:, above]
    return wide @ mixing / values, values, space.double() @ mixing
