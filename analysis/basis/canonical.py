"""The canonical global basis: the paper's basis, made unique inside clusters of equal singular values."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.basis.angles import PrincipalAngles, cross_product, gram_svd, principal_angles
from analysis.basis.side import SideBasis, cluster_tolerance, clustered_mask, find_clusters, kept_rank, positive_signs

_WEAK = 0.3
"""Below this strength s the rounding of the U_i, amplified by 1/s², would show in the orthogonality of the basis."""

_POLISH_STEPS = 3


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
    eigenvalues, vectors = concatenation_eigen(bases, angles)
    strengths = eigenvalues.clamp(min=0).sqrt()
    smallest = _smallest_strength(dtype, len(bases))
    rank = kept_rank(strengths, energy, smallest)
    resolved = int((strengths > smallest).sum())
    clusters = find_clusters(strengths[:resolved], cluster_tolerance(dtype))
    coordinates = vectors.mT.clone(memory_format=torch.contiguous_format).mul_(strengths[:, None])
    weights = torch.cat([values.double() for values in singular_values])
    for start, stop in clusters:
        if stop - start > 1:
            rotation = gram_svd(coordinates[start:stop] * weights, left_only=True).left
            vectors[:, start:stop] = vectors[:, start:stop] @ rotation
            coordinates[start:stop] = rotation.mT @ coordinates[start:stop]
    strong = int((strengths[:rank] >= _WEAK).sum())
    basis = _combine(bases, vectors[:, :rank].div_(strengths[:rank]), strong)
    del vectors
    # In float64 the combination itself rounds as coarsely as its result, so no column is sound.
    basis = polish(basis, 0 if dtype == torch.float64 else strong)
    signs = positive_signs(basis)
    coordinates = coordinates[:rank].mul_(signs[:, None].double())
    return SideBasis(
        vectors=basis.mul_(signs),
        coordinates=tuple(part.contiguous() for part in torch.split(coordinates, [b.shape[1] for b in bases], dim=1)),
        strengths=strengths[:rank].clone(),
        clustered=clustered_mask(clusters, max(rank, resolved))[:rank].to(basis.device),
    )


def concatenation_eigen(
    bases: Sequence[Float[Tensor, "dim _"]], angles: PrincipalAngles | None = None
) -> tuple[Float[Tensor, " total"], Float[Tensor, "total total"]]:
    """Compute eigenvalues (descending) and eigenvectors of the Gram matrix of ``[U_1 … U_T]``, in float64.

    The U_i are taken as exactly orthonormal: the diagonal blocks of the Gram matrix are identities.
    """
    if len(bases) == 2:
        return _two_task_eigen(angles or principal_angles(bases[0], bases[1]))
    gram = torch.cat(
        [torch.cat([_block(bases, row, col) for col in range(len(bases))], dim=1) for row in range(len(bases))]
    )
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.flip(0), vectors.flip(1)


def _two_task_eigen(found: PrincipalAngles) -> tuple[Float[Tensor, " total"], Float[Tensor, "total total"]]:
    """Eigenpairs of ``[[I, M], [Mᵀ, I]]`` from ``M = P cos θ Qᵀ``: 1 ± cos θ_j on (p_j, ±q_j)/√2, 1 on the rest."""
    left, right, cosines = found.first, found.second, found.cosines
    pairs, first, total = cosines.shape[0], left.shape[0], left.shape[0] + right.shape[0]
    half = 0.5**0.5
    # Filled in place: these matrices are the largest of the analysis.
    vectors = left.new_zeros(total, total)
    vectors[:first, :pairs] = left[:, :pairs] * half
    vectors[first:, :pairs] = right[:, :pairs] * half
    vectors[:first, pairs:first] = left[:, pairs:]
    vectors[first:, first : total - pairs] = right[:, pairs:]
    vectors[:first, total - pairs :] = vectors[:first, :pairs].flip(1)
    vectors[first:, total - pairs :] = -vectors[first:, :pairs].flip(1)
    ones = cosines.new_ones(total - 2 * pairs)
    return torch.cat([1 + cosines, ones, found.versines.flip(0)]), vectors


def _block(bases: Sequence[Float[Tensor, "dim _"]], row: int, col: int) -> Float[Tensor, "_ _"]:
    """Block (row, col) of the Gram matrix; the lower blocks are exact transposes of the upper ones."""
    if row == col:
        return torch.eye(bases[row].shape[1], dtype=torch.float64, device=bases[row].device)
    low, high = min(row, col), max(row, col)
    product = cross_product(bases[low], bases[high])
    return product if row < col else product.mT


def _combine(
    bases: Sequence[Float[Tensor, "dim _"]], mixing: Float[Tensor, "total rank"], strong: int, chunk: int = 1024
) -> Float[Tensor, "dim rank"]:
    """``Σ_i U_i B_i``, the first `strong` columns in the dtype of the U_i, the others in float64 and rounded once.

    Rounding in the product is amplified by the inverse of a direction's strength, like that of the U_i.
    """
    result = bases[0].new_empty(bases[0].shape[0], mixing.shape[1])
    for columns, dtype in ((slice(0, strong), result.dtype), (slice(strong, None), torch.float64)):
        parts = torch.split(mixing[:, columns].to(dtype), [b.shape[1] for b in bases])
        for start in range(0, result.shape[0] if parts[0].shape[1] else 0, chunk):
            rows = [basis[start : start + chunk].to(dtype) @ part for basis, part in zip(bases, parts, strict=True)]
            result[start : start + chunk, columns] = sum(rows[1:], rows[0])
    return result


def polish(vectors: Float[Tensor, "dim rank"], sound: int) -> Float[Tensor, "dim rank"]:
    """Re-orthonormalise, in place, the columns after the first `sound`, where weak strengths amplified rounding.

    They are projected out of the sound ones, then moved by Newton–Schulz steps ``Q (3 I − QᵀQ)/2`` to the nearest
    orthonormal columns; each step squares the defect ``‖QᵀQ − I‖``, and none is taken when it is below rounding.
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
        weak.copy_(weak @ (1.5 * identity - 0.5 * gram))
    return vectors


def _smallest_strength(dtype: torch.dtype, tasks: int) -> float:
    """Directions weaker than this are the rounding of shared ones.

    For two tasks λ = 1 − cos θ comes from sin θ, which errs by about eps of the bases; for more it is an eigenvalue of
    a Gram matrix, which errs by that itself.
    """
    rounding = 30 * torch.finfo(dtype).eps
    return rounding if tasks == 2 else math.sqrt(rounding)
