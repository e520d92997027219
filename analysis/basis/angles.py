"""Principal angles between two subspaces, and thin SVDs of small matrices through Gram matrices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import LinAlgError
from analysis.gram import eigenvectors_in_place

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
    return angles_of(cross_product(first, second), first.shape[0], _distances(first, second))


Distances = Callable[[Tensor, Tensor], Tensor]
"""From A and B, in float64, the squared norms of the columns of ``U_1 A − U_2 B``."""


def angles_of(cross: Float[Tensor, "first second"], dim: int, distances: Distances) -> PrincipalAngles:
    """Compute principal angles from ``U_1ᵀU_2``, where the bases have `dim` rows and only `distances` sees them."""
    if cross.shape[0] > cross.shape[1]:
        return _angles(cross.mT, dim, lambda first, second: distances(second, first)).swapped()
    return _angles(cross, dim, distances)


def _angles(cross: Float[Tensor, "first second"], dim: int, distances: Distances) -> PrincipalAngles:
    found = gram_svd(cross)
    cosines, right = found.values.clamp(max=1.0), complete(found.right)
    return PrincipalAngles(cross, cosines, _versines(cross, dim, distances, cosines, right), found.left, right)


def _versines(
    cross: Float[Tensor, "first second"],
    dim: int,
    distances: Distances,
    cosines: Float[Tensor, " pairs"],
    right: Float[Tensor, "second second"],
) -> Float[Tensor, " pairs"]:
    """``1 − cos θ``; from ``sin θ = ‖(I − U_1U_1ᵀ) U_2 q‖`` where the difference would be rounding.

    Two spaces of dimension dim share at least ``k_1 + k_2 − dim`` directions whatever they are: those versines are 0.
    """
    versines = 1 - cosines
    shared = max(cross.shape[0] + cross.shape[1] - dim, 0)
    close = int((versines < _CLOSE).sum())
    versines[:shared] = 0.0
    if close > shared:
        mixed = right[:, shared:close]
        versines[shared:close] = distances(cross @ mixed, mixed) / (1 + cosines[shared:close])
    return versines


def _distances(first: Float[Tensor, "dim first"], second: Float[Tensor, "dim second"], chunk: int = 1024) -> Distances:
    """By row chunks of two bases in memory."""

    def distances(of_first: Tensor, of_second: Tensor) -> Tensor:
        square = of_first.new_zeros(of_first.shape[1])
        for start in range(0, first.shape[0], chunk):
            rows = slice(start, start + chunk)
            square += (first[rows].double() @ of_first - second[rows].double() @ of_second).square().sum(dim=0)
        return square

    return distances


def gram_svd(*blocks: Float[Tensor, "rows _"], left_only: bool = False) -> SmallSVD:
    """Compute the SVD of a small wide float64 matrix, given by blocks side by side, through eigenvectors of ``A Aᵀ``.

    Squaring loses what lies below ``√eps`` of the largest value. So only values down to a hundredth of the largest are
    taken from one Gram matrix; the rest is projected out of A and decomposed on its own, level by level, until rounding
    is reached. Equivalent to ``torch.linalg.svd``, with errors up to 100 times larger, at a third of its time; that
    function takes over where the eigenvectors do not converge. With `left_only` the right side may lack columns, and
    the blocks are put together only where one level does not suffice.
    """
    try:
        return _by_levels(blocks, left_only)
    except LinAlgError:
        left, values, right = torch.linalg.svd(torch.cat(blocks, dim=1), full_matrices=False)
        return SmallSVD(left, values, right.mT)


def _by_levels(blocks: Sequence[Float[Tensor, "rows _"]], left_only: bool) -> SmallSVD:
    rows, cols = blocks[0].shape[0], sum(block.shape[1] for block in blocks)
    left, values, right = blocks[0].new_zeros(rows, 0), blocks[0].new_zeros(rows), blocks[0].new_zeros(cols, 0)
    done, largest = 0, 0.0
    while done < rows:
        gram = blocks[0] @ blocks[0].mT
        for block in blocks[1:]:
            gram.addmm_(block, block.mT)
        # Symmetric, so that transposed it is the same and may be overwritten.
        eigenvalues, vectors = eigenvectors_in_place(gram.mT)
        del gram
        found, vectors = eigenvalues.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
        left = torch.cat([left[:, :done], left[:, done:] @ vectors], dim=1) if done else vectors
        largest = max(largest, float(found[0]))
        if float(found[0]) <= rows * torch.finfo(found.dtype).eps * largest:
            break
        keep = int((found >= _RESOLVED * found[0]).sum())
        values[done : done + keep] = found[:keep]
        done += keep
        if left_only and done == rows:
            break
        rest = blocks[0] if len(blocks) == 1 else torch.cat(list(blocks), dim=1)
        new = rest.mT @ (vectors[:, :keep] / found[:keep])
        right = torch.cat([right, new], dim=1)
        rest = vectors[:, keep:].mT @ rest
        blocks = (rest - (rest @ new) @ new.mT,)
    return SmallSVD(left, values, right)


def complete(vectors: Float[Tensor, "dim rank"]) -> Float[Tensor, "dim dim"]:
    """Add orthonormal columns to nearly orthonormal ones until they span everything."""
    if vectors.shape[0] == vectors.shape[1]:
        return vectors
    # What `torch.linalg.qr` does, in the memory of the result.
    whole = vectors.new_zeros(vectors.shape[0], vectors.shape[0]).mT
    first, scales = whole[:, : vectors.shape[1]], vectors.new_empty(vectors.shape[1])
    torch.geqrf(vectors, out=(first, scales))
    signs = torch.where(first.diagonal() < 0, -1.0, 1.0)
    torch.linalg.householder_product(whole, scales, out=whole)
    first *= signs
    return whole


def cross_product(
    first: Float[Tensor, "dim first"], second: Float[Tensor, "dim second"], chunk: int = 4096
) -> Float[Tensor, "first second"]:
    """Compute ``U_1ᵀ U_2`` in float64, in row chunks so that no float64 copy of a whole basis is held."""
    result = torch.zeros(first.shape[1], second.shape[1], dtype=torch.float64, device=first.device)
    for start in range(0, first.shape[0], chunk):
        result.addmm_(first[start : start + chunk].double().mT, second[start : start + chunk].double())
    return result
