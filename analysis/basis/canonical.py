"""The canonical global basis: the paper's basis, made unique inside clusters of equal singular values."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.basis.angles import PrincipalAngles, cross_product, gram_svd, principal_angles
from analysis.basis.side import SideBasis, cluster_tolerance, clustered_mask, find_clusters, kept_rank, positive_signs
from analysis.gram import eigenvectors_in_place

_WEAK = 0.3
"""Below this strength s the rounding of the U_i, amplified by 1/s², would show in the orthogonality of the basis."""

_POLISH_STEPS = 3
_NEAR = {torch.float32: 0.15, torch.float64: 0.05}
"""Defects that so many steps bring to 1e-7 and below 1e-11."""

_ROWS = 256
"""Rows of coordinates that are put into another order at a time."""


def canonical_basis(
    bases: Sequence[Float[Tensor, "dim _"]],
    singular_values: Sequence[Float[Tensor, " _"]],
    energy: float,
    angles: PrincipalAngles | None = None,
) -> SideBasis:
    """Compute the left singular vectors of ``[U_1 … U_T]`` with a unique choice inside every cluster.

    With the Gram matrix ``G = [U_i^T U_j]`` and ``G = Z Λ Zᵀ``, the basis is ``Q = [U_1 … U_T] Z Λ^{-1/2}`` and the
    coordinates are ``Qᵀ [U_1 … U_T] = Λ^{1/2} Zᵀ``. Where neighbouring √λ differ by less than the tolerance, the
    columns are rotated to the left singular vectors of the task energy that the cluster holds,
    ``Q_cᵀ [U_1 Σ_1 … U_T Σ_T]``: unique up to sign wherever these energies differ, strongest first. Signs are fixed so
    that the entry of largest magnitude is positive.

    Parameters
    ----------
    bases
        U_i (or V_i) of every task: orthonormal columns, one dtype, one device.
    singular_values
        Σ_i of every task, in the order of the columns.
    energy
        Share of ``Σσ²`` of the concatenation to keep, in (0, 1]; raising it keeps weaker directions.
    angles
        The principal angles of two tasks where they are known already.

    Returns
    -------
    The basis; `vectors` in the dtype of the inputs, `coordinates` and `strengths` in float64.

    Notes
    -----
    For two tasks Λ and Z follow from the SVD of ``U_1ᵀ U_2`` (k_1 × k_2): λ = 1 ± cos θ_j for the principal angles
    θ_j, and 1 for unmatched directions: eigenvectors of the smaller Gram matrix and of one c × c matrix per cluster of
    c directions, and O(dim k_1 k_2 + dim K r) GEMMs for K = Σ k_i, all in float64.

    References
    ----------
    GLOBA, equations 11–14. The canonical choice is ours: equal singular values leave the published basis arbitrary.
    """
    dtype = bases[0].dtype
    known = [] if angles is None else [angles]
    del angles
    parts = _coordinates(bases, known)
    found = canonical_coordinates(*parts, singular_values, energy, dtype)
    del parts
    strong = int((found.strengths >= _WEAK).sum())
    basis = _combine(bases, found.parts, found.strengths, strong)
    # In float64 the combination itself rounds as coarsely as its result, so no column is sound.
    basis = polish(basis, 0 if dtype == torch.float64 else strong)
    signs = positive_signs(basis)
    return SideBasis(
        vectors=basis.mul_(signs),
        coordinates=tuple(part.mul_(signs[:, None].double()) for part in found.parts),
        strengths=found.strengths,
        clustered=found.clustered.to(basis.device),
    )


@dataclass(frozen=True)
class Coordinates:
    """The singular vectors of the tasks in an orthonormal basis ``Q = Σ_i U_i C_iᵀ Λ⁻¹`` that need not be formed.

    `parts` are the ``C_i = Qᵀ U_i`` and `strengths` the √λ, both in float64, strongest first; `clustered` is that of
    `SideBasis`.
    """

    parts: list[Float[Tensor, "rank _"]]
    strengths: Float[Tensor, " rank"]
    clustered: Bool[Tensor, " rank"]


def canonical_coordinates(
    strengths: Float[Tensor, " full"],
    parts: Sequence[Float[Tensor, "some _"]],
    singular_values: Sequence[Float[Tensor, " _"]],
    energy: float,
    dtype: torch.dtype,
) -> Coordinates:
    """Choose inside clusters and cut the rank: the canonical basis up to signs.

    Parameters
    ----------
    strengths, parts
        From `two_task_coordinates` or `gram_coordinates`; the parts are overwritten.
    singular_values, energy
        As for `canonical_basis`.
    dtype
        Of the U_i: says which strengths are rounding, and which are equal.
    """
    smallest = _smallest_strength(dtype, len(parts))
    rank = kept_rank(strengths, energy, smallest)
    resolved = int((strengths > smallest).sum())
    clusters = find_clusters(strengths[:resolved], cluster_tolerance(dtype, strengths.shape[0]))
    for start, stop in clusters:
        if stop - start > 1:
            _rotate([part[start:stop] for part in parts], singular_values)
    return Coordinates(
        [part[:rank] for part in parts],
        strengths[:rank].clone(),
        clustered_mask(clusters, max(rank, resolved))[:rank],
    )


def _coordinates(
    bases: Sequence[Float[Tensor, "dim _"]], angles: list[PrincipalAngles]
) -> tuple[Float[Tensor, " total"], list[Float[Tensor, "kept _"]]]:
    """Strengths √λ, descending, and ``Λ^{1/2} Zᵀ`` in a block for each task; known angles leave the list."""
    if len(bases) == 2:
        return two_task_coordinates(angles or [principal_angles(bases[0], bases[1])])
    pairs = itertools.combinations(range(len(bases)), 2)
    crosses = {(one, two): cross_product(bases[one], bases[two]) for one, two in pairs}
    ranks = [basis.shape[1] for basis in bases]
    return gram_coordinates(concatenation_gram(ranks, crosses, bases[0]), ranks, bases[0].dtype)


def gram_coordinates(
    gram: Float[Tensor, "total total"], ranks: Sequence[int], dtype: torch.dtype
) -> tuple[Float[Tensor, " total"], list[Float[Tensor, "resolved _"]]]:
    """Strengths √λ, descending, and ``Λ^{1/2} Zᵀ`` in a block per task, from the Gram matrix of ``[U_1 … U_T]``.

    The Gram matrix is overwritten. Of the coordinates, rows are left out whose strength is rounding in `dtype`.
    """
    # Symmetric, so that transposed it is the same and may be overwritten.
    eigenvalues, vectors = eigenvectors_in_place(gram.mT)
    strengths = eigenvalues.flip(0).clamp(min=0).sqrt()
    resolved = int((strengths > _smallest_strength(dtype, len(ranks))).sum())
    whole = vectors[:, vectors.shape[1] - resolved :].flip(1).mT.mul(strengths[:resolved, None])
    return strengths, [part.contiguous() for part in torch.split(whole, list(ranks), dim=1)]


def two_task_coordinates(
    angles: list[PrincipalAngles],
) -> tuple[Float[Tensor, " total"], list[Float[Tensor, "kept _"]]]:
    """Strengths and coordinates of two tasks from ``U_1ᵀU_2 = P cos θ Qᵀ``, without rows of strength 0 at the end.

    √(1 ± cos θ_j) on (p_j, ±q_j)/√2, and 1 on what has no partner. The angles are the last of the list and leave it:
    with what is made of them these matrices are the largest of all.
    """
    found = angles.pop()
    strong, weak = (1 + found.cosines).sqrt(), found.versines.flip(0).sqrt()
    pairs, weak_rows = strong.shape[0], int((weak > 0).sum())
    alone = found.first.shape[0] + found.second.shape[0] - 2 * pairs
    sides = [found.first.mT, found.second.mT]
    del found
    blocks = []
    for sign in (1.0, -1.0):
        vectors = sides.pop(0)
        block = vectors.new_zeros(pairs + alone + weak_rows, vectors.shape[1])
        torch.mul(vectors[:pairs], (strong * 0.5**0.5)[:, None], out=block[:pairs])
        # Only the larger of the two has any.
        block[pairs : vectors.shape[0]] = vectors[pairs:]
        for start in range(0, weak_rows, _ROWS):
            some = slice(start, min(start + _ROWS, weak_rows))
            weakest = vectors[pairs - some.stop : pairs - some.start].flip(0)
            torch.mul(weakest, (weak[some] * sign * 0.5**0.5)[:, None], out=block[pairs + alone :][some])
        blocks.append(block)
        del vectors, block
    return torch.cat([strong, strong.new_ones(alone), weak]), blocks


def _rotate(parts: list[Float[Tensor, "cluster _"]], singular_values: Sequence[Float[Tensor, " _"]]) -> None:
    """Rotate the coordinates of one cluster, in place, to the singular vectors of the task energy that it holds."""
    for part, values in zip(parts, singular_values, strict=True):
        part.mul_(values.double())
    rotation = gram_svd(*parts, left_only=True).left.mT
    for part, values in zip(parts, singular_values, strict=True):
        torch.div(rotation @ part, values.double(), out=part)


def concatenation_gram(
    ranks: Sequence[int], crosses: Mapping[tuple[int, int], Float[Tensor, "_ _"]], like: Tensor
) -> Float[Tensor, "total total"]:
    """Put the Gram matrix of ``[U_1 … U_T]`` together from the ``U_iᵀU_j`` of all i < j, in float64.

    The U_i are taken as exactly orthonormal: the diagonal blocks are identities.
    """
    edges = list(itertools.accumulate(ranks, initial=0))
    gram = torch.eye(edges[-1], dtype=torch.float64, device=like.device)
    for (row, col), cross in crosses.items():
        gram[edges[row] : edges[row + 1], edges[col] : edges[col + 1]] = cross
        gram[edges[col] : edges[col + 1], edges[row] : edges[row + 1]] = cross.mT
    return gram


def _combine(
    bases: Sequence[Float[Tensor, "dim _"]],
    coordinates: Sequence[Float[Tensor, "rank _"]],
    strengths: Float[Tensor, " rank"],
    strong: int,
    chunk: int = 1024,
) -> Float[Tensor, "dim rank"]:
    """``Q = Σ_i U_i C_iᵀ Λ^{-1}``: the first `strong` columns in the dtype of the U_i, the others in float64.

    Rounding in the product is amplified by the inverse of a direction's strength, like that of the U_i.
    """
    result = bases[0].new_empty(bases[0].shape[0], strengths.shape[0])
    scale = strengths.square()[:, None]
    for start in range(0, strengths.shape[0], chunk):
        for columns in (slice(start, min(start + chunk, strong)), slice(max(start, strong), start + chunk)):
            dtype = result.dtype if columns.start < strong else torch.float64
            mixing = [(part[columns] / scale[columns]).to(dtype).mT for part in coordinates]
            if mixing[0].shape[1]:
                _mix(bases, mixing, result[:, columns])
    return result


def _mix(
    bases: Sequence[Float[Tensor, "dim _"]],
    mixing: Sequence[Float[Tensor, "_ some"]],
    result: Float[Tensor, "dim some"],
    chunk: int = 1024,
) -> None:
    """``Σ_i U_i B_i`` by row chunks, in the dtype of the B_i, rounded once into `result`."""
    for start in range(0, result.shape[0], chunk):
        rows = slice(start, start + chunk)
        products = [basis[rows].to(part.dtype) @ part for basis, part in zip(bases, mixing, strict=True)]
        result[rows] = sum(products[1:], products[0])


def polish(vectors: Float[Tensor, "dim rank"], sound: int) -> Float[Tensor, "dim rank"]:
    """Re-orthonormalise, in place, the columns after the first `sound`, where weak strengths amplified rounding.

    They are projected out of the sound ones, then moved by Newton–Schulz steps ``Q (3 I − QᵀQ)/2`` to the nearest
    orthonormal columns; each step squares the defect ``‖QᵀQ − I‖``, and none is taken when it is below rounding. Where
    the defect is so large that the steps would not get there, a QR decomposition takes their place.
    """
    strong, weak = vectors[:, :sound], vectors[:, sound:]
    if weak.shape[1] == 0:
        return vectors
    weak -= strong @ (strong.mT @ weak)
    identity = torch.eye(weak.shape[1], dtype=weak.dtype, device=weak.device)
    for _ in range(_POLISH_STEPS):
        gram = weak.mT @ weak
        if float((gram - identity).abs().max()) <= 2 * torch.finfo(weak.dtype).eps:
            break
        if _is_far(gram, identity):
            weak.copy_(_orthonormalised(weak))
            break
        weak.copy_(weak @ (1.5 * identity - 0.5 * gram))
    return vectors


def _is_far(gram: Float[Tensor, "rank rank"], identity: Float[Tensor, "rank rank"]) -> bool:
    """Whether an eigenvalue of QᵀQ is so far from 1 that a few steps do not lead there; from 3 on they lead away."""
    near = _NEAR[gram.dtype]
    if float((gram - identity).norm()) < near:
        return False
    eigenvalues = torch.linalg.eigvalsh(gram.double())
    return not (float(eigenvalues[0]) > 1 - near and float(eigenvalues[-1]) < 1 + near)


def _orthonormalised(vectors: Float[Tensor, "dim rank"]) -> Float[Tensor, "dim rank"]:
    """Orthonormal columns whose leading ones span what the leading given ones span, with positive products."""
    result: Tensor
    result, triangle = torch.linalg.qr(vectors)
    return result * torch.where(triangle.diagonal() < 0, -1.0, 1.0).to(vectors.dtype)


def _smallest_strength(dtype: torch.dtype, tasks: int) -> float:
    """Directions weaker than this are the rounding of shared ones.

    For two tasks λ = 1 − cos θ comes from sin θ, which errs by about eps of the bases; for more it is an eigenvalue of
    a Gram matrix, which errs by that itself.
    """
    rounding = 30 * torch.finfo(dtype).eps
    return rounding if tasks == 2 else math.sqrt(rounding)
