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
    strengths, coordinates = _coordinates(bases, angles)
    del angles
    smallest = _smallest_strength(dtype, len(bases))
    rank = kept_rank(strengths, energy, smallest)
    resolved = int((strengths > smallest).sum())
    clusters = find_clusters(strengths[:resolved], cluster_tolerance(dtype, strengths.shape[0]))
    for start, stop in clusters:
        if stop - start > 1:
            _rotate([part[start:stop] for part in coordinates], singular_values)
    coordinates = [part[:rank] for part in coordinates]
    strong = int((strengths[:rank] >= _WEAK).sum())
    basis = _combine(bases, coordinates, strengths[:rank], strong)
    # In float64 the combination itself rounds as coarsely as its result, so no column is sound.
    basis = polish(basis, 0 if dtype == torch.float64 else strong)
    signs = positive_signs(basis)
    return SideBasis(
        vectors=basis.mul_(signs),
        coordinates=tuple(part.mul_(signs[:, None].double()) for part in coordinates),
        strengths=strengths[:rank].clone(),
        clustered=clustered_mask(clusters, max(rank, resolved))[:rank].to(basis.device),
    )


def _coordinates(
    bases: Sequence[Float[Tensor, "dim _"]], angles: PrincipalAngles | None
) -> tuple[Float[Tensor, " total"], list[Float[Tensor, "kept _"]]]:
    """Strengths √λ, descending, and ``Λ^{1/2} Zᵀ`` in a block for each task, without rows of strength 0 at the end."""
    if len(bases) == 2:
        return _two_task_coordinates(angles or principal_angles(bases[0], bases[1]))
    eigenvalues, vectors = concatenation_eigen(bases)
    strengths = eigenvalues.clamp(min=0).sqrt()
    whole = vectors.mT.mul(strengths[:, None])
    return strengths, [part.contiguous() for part in torch.split(whole, [b.shape[1] for b in bases], dim=1)]


def _two_task_coordinates(
    found: PrincipalAngles,
) -> tuple[Float[Tensor, " total"], list[Float[Tensor, "kept _"]]]:
    """The same from ``U_1ᵀU_2 = P cos θ Qᵀ``: √(1 ± cos θ_j) on (p_j, ±q_j)/√2, and 1 on what has no partner."""
    left, right, pairs = found.first.mT, found.second.mT, found.cosines.shape[0]
    strong, weak = (1 + found.cosines).sqrt(), found.versines.flip(0).sqrt()
    alone = left.shape[0] + right.shape[0] - 2 * pairs
    weak_rows = int((weak > 0).sum())
    blocks = []
    for vectors, sign in ((left, 1.0), (right, -1.0)):
        # Filled in place: these matrices are the largest of the analysis.
        block = vectors.new_zeros(pairs + alone + weak_rows, vectors.shape[1])
        torch.mul(vectors[:pairs], (strong * 0.5**0.5)[:, None], out=block[:pairs])
        # Only the larger of the two has any.
        block[pairs : vectors.shape[0]] = vectors[pairs:]
        weakest = vectors[pairs - weak_rows : pairs].flip(0)
        torch.mul(weakest, (weak * sign * 0.5**0.5)[:weak_rows, None], out=block[pairs + alone :])
        blocks.append(block)
    return torch.cat([strong, strong.new_ones(alone), weak]), blocks


def _rotate(parts: list[Float[Tensor, "cluster _"]], singular_values: Sequence[Float[Tensor, " _"]]) -> None:
    """Rotate the coordinates of one cluster, in place, to the singular vectors of the task energy that it holds."""
    weighted = torch.cat([part * values.double() for part, values in zip(parts, singular_values, strict=True)], dim=1)
    rotation = gram_svd(weighted, left_only=True).left.mT
    for part in parts:
        part.copy_(rotation @ part)


def concatenation_eigen(
    bases: Sequence[Float[Tensor, "dim _"]],
) -> tuple[Float[Tensor, " total"], Float[Tensor, "total total"]]:
    """Compute eigenvalues (descending) and eigenvectors of the Gram matrix of ``[U_1 … U_T]``, in float64.

    The U_i are taken as exactly orthonormal: the diagonal blocks of the Gram matrix are identities.
    """
    gram = torch.cat(
        [torch.cat([_block(bases, row, col) for col in range(len(bases))], dim=1) for row in range(len(bases))]
    )
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.flip(0), vectors.flip(1)


def _block(bases: Sequence[Float[Tensor, "dim _"]], row: int, col: int) -> Float[Tensor, "_ _"]:
    """Block (row, col) of the Gram matrix; the lower blocks are exact transposes of the upper ones."""
    if row == col:
        return torch.eye(bases[row].shape[1], dtype=torch.float64, device=bases[row].device)
    low, high = min(row, col), max(row, col)
    product = cross_product(bases[low], bases[high])
    return product if row < col else product.mT


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
