"""Principal angles between two subspaces, and thin SVDs of small matrices through Gram matrices."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import LinAlgError

_CLOSE = 1e-3
"""Versines below this are computed from the sine: a difference of float32 bases errs by about 1e-7."""
_RESOLVED = 1e-2
"""A level of `gram_svd` accepts values down to this share of its largest: squaring costs it a factor of 100 in eps."""


@dataclass(frozen=True)
class SmallSVD:
    """``A = U diag(s) Vᵀ`` of a float64 matrix: U square and orthonormal, s descending, one value per row of A.

    `right` holds the columns of V that A determines: as many as there are values above rounding.
    """

    left: Float[Tensor, "rows rows"]
    values: Float[Tensor, " rows"]
    right: Float[Tensor, "cols resolved"]


@dataclass(frozen=True)
class PrincipalAngles:
    """Two spaces with orthonormal bases U_1 and U_2 against each other.

    `cross` is ``U_1ᵀ U_2 = P cos θ Qᵀ``, in float64. `cosines` are the min(k_1, k_2) cosines of the principal angles,
    descending, and `versines` are 1 − cos θ, computed from sin θ where the angle is small, so that they are right
    down to the square of the rounding of the bases. `first` holds orthonormal columns p_1 … p_{k_1}, `second`
    q_1 … q_{k_2}: the leading ones are the
    principal vectors in pairs, the rest what has no partner.
    """

    cross: Float[Tensor, "first second"]
    cosines: Float[Tensor, " pairs"]
    versines: Float[Tensor, " pairs"]
    first: Float[Tensor, "first first"]
    second: Float[Tensor, "second second"]

    @property
    def angles(self) -> Float[Tensor, " pairs"]:
        """Principal angles in radians, ascending."""
        return 2 * (self.versines / 2).clamp(0, 1).sqrt().arcsin()

    def swapped(self) -> "PrincipalAngles":
        """Give the same angles with the two spaces in the other order."""
        return PrincipalAngles(self.cross.mT, self.cosines, self.versines, self.second, self.first)


def principal_angles(first: Float[Tensor, "dim first"], second: Float[Tensor, "dim second"]) -> PrincipalAngles:
    """Compute the principal angles and vectors of the spaces of two orthonormal bases.

    Notes
    -----
    With k the smaller rank and K the larger: ``2 dim k K`` for the product, about ``9 k³`` for the eigenvectors of the
    smaller Gram matrix, and ``4/3 K³`` to complete the larger side; all in float64.
    """
    cross = cross_product(first, second)
    if cross.shape[0] > cross.shape[1]:
        return _angles(cross.mT, second, first).swapped()
    return _angles(cross, first, second)


def _angles(
    cross: Float[Tensor, "first second"], first: Float[Tensor, "dim first"], second: Float[Tensor, "dim second"]
) -> PrincipalAngles:
    found = gram_svd(cross)
    cosines, right = found.values.clamp(max=1.0), complete(found.right)
    return PrincipalAngles(cross, cosines, _versines(cross, first, second, cosines, right), found.left, right)


def _versines(
    cross: Float[Tensor, "first second"],
    first: Float[Tensor, "dim first"],
    second: Float[Tensor, "dim second"],
    cosines: Float[Tensor, " pairs"],
    right: Float[Tensor, "second second"],
) -> Float[Tensor, " pairs"]:
    """``1 − cos θ``; from ``sin θ = ‖(I − U_1U_1ᵀ) U_2 q‖`` where the difference would be rounding.

    Two spaces of dimension dim share at least ``k_1 + k_2 − dim`` directions whatever they are: those versines are 0.
    """
    versines = 1 - cosines
    shared = max(first.shape[1] + second.shape[1] - first.shape[0], 0)
    close = int((versines < _CLOSE).sum())
    versines[:shared] = 0.0
    if close > shared:
        mixed = right[:, shared:close]
        square = versines.new_zeros(close - shared)
        for start in range(0, first.shape[0], 1024):
            rows = slice(start, start + 1024)
            residual = second[rows].double() @ mixed - first[rows].double() @ (cross @ mixed)
            square += residual.square().sum(dim=0)
        versines[shared:close] = square / (1 + cosines[shared:close])
    return versines


def gram_svd(matrix: Float[Tensor, "rows cols"], *, left_only: bool = False) -> SmallSVD:
    """Compute the SVD of a small wide float64 matrix through eigenvectors of ``A Aᵀ``.

    Squaring loses what lies below ``√eps`` of the largest value. So only values down to a hundredth of the largest are
    taken from one Gram matrix; the rest is projected out of A and decomposed on its own, level by level, until rounding
    is reached. Equivalent to ``torch.linalg.svd``, with errors up to 100 times larger, at a third of its time; that
    function takes over where the eigenvectors do not converge. With `left_only` the right side may lack columns.
    """
    try:
        return _by_levels(matrix, left_only)
    except LinAlgError:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return SmallSVD(left, values, right.mT)


def _by_levels(matrix: Float[Tensor, "rows cols"], left_only: bool) -> SmallSVD:
    rows = matrix.shape[0]
    left, values, right = matrix.new_zeros(rows, 0), matrix.new_zeros(rows), matrix.new_zeros(matrix.shape[1], 0)
    rest, done, largest = matrix, 0, 0.0
    while done < rows:
        eigenvalues, vectors = torch.linalg.eigh(rest @ rest.mT)
        found, vectors = eigenvalues.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
        left = torch.cat([left[:, :done], left[:, done:] @ vectors], dim=1) if done else vectors
        largest = max(largest, float(found[0]))
        if float(found[0]) <= rows * torch.finfo(matrix.dtype).eps * largest:
            break
        keep = int((found >= _RESOLVED * found[0]).sum())
        values[done : done + keep] = found[:keep]
        done += keep
        if left_only and done == rows:
            break
        new = rest.mT @ (vectors[:, :keep] / found[:keep])
        right = torch.cat([right, new], dim=1)
        rest = vectors[:, keep:].mT @ rest
        rest = rest - (rest @ new) @ new.mT
    return SmallSVD(left, values, right)


def complete(vectors: Float[Tensor, "dim rank"]) -> Float[Tensor, "dim dim"]:
    """Add orthonormal columns to nearly orthonormal ones until they span everything."""
    if vectors.shape[0] == vectors.shape[1]:
        return vectors
    whole: Tensor
    whole, triangle = torch.linalg.qr(vectors, mode="complete")
    signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    whole[:, : vectors.shape[1]] *= signs
    return whole


def cross_product(
    first: Float[Tensor, "dim first"], second: Float[Tensor, "dim second"], chunk: int = 4096
) -> Float[Tensor, "first second"]:
    """Compute ``U_1ᵀ U_2`` in float64, in row chunks so that no float64 copy of a whole basis is held."""
    result = torch.zeros(first.shape[1], second.shape[1], dtype=torch.float64, device=first.device)
    for start in range(0, first.shape[0], chunk):
        result.addmm_(first[start : start + chunk].double().mT, second[start : start + chunk].double())
    return result
