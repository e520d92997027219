"""Singular triplets, orthogonalisation, and the cut at the numerical rank, for the methods built on an SVD."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.decompose import truncated_svd
from analysis.errors import DecompositionError, LinAlgError
from analysis.gram import eigenvectors_in_place, gram_matrix, product
from analysis.merge.context import Role, TensorContext
from analysis.merge.method import MergeMethod, present
from analysis.merge.parameter import Parameter
from analysis.merge.weights import SCALE, WEIGHT, task_weights

RANK_CUT = Parameter(
    "rank_cut", "flag", True, "leave out directions below the numerical rank, which are noise in low-rank deltas"
)
RANK_TOLERANCE = Parameter(
    "rank_tolerance", "number", 1e-5, "with rank_cut, the smallest σ/σ_1 that is no noise", 0.0, 1.0
)
EMBEDDINGS = Parameter(
    "embeddings", "word", "average", "embeddings and lm_head: the mean, or like matrices", words=("average", "svd")
)
DIRECTIONS = 256
"""Directions that are looked at together."""
CUT_VARIANTS = {"robust": {}, "paper": {"rank_cut": False}}
"""Variants of the methods built on an SVD: with the cut at the numerical rank, and the papers' own, without."""


@dataclass(frozen=True)
class Triplets:
    """Singular triplets ``u_r, σ_r, v_r`` as columns, largest first; vectors in the working dtype, σ in float64."""

    left: Float[Tensor, "rows rank"]
    values: Float[Tensor, " rank"]
    right: Float[Tensor, "cols rank"]

    @property
    def rank(self) -> int:
        """Number of triplets."""
        return self.values.shape[0]

    def first(self, count: int) -> "Triplets":
        """The leading ones."""
        return Triplets(self.left[:, :count], self.values[:count], self.right[:, :count])


def leading_triplets(
    matrix: Float[Tensor, "rows cols"], count: int, tolerance: float | None, scale: float | None = None
) -> Triplets:
    """Decompose a matrix and keep the `count` leading triplets.

    Parameters
    ----------
    matrix
        In float32 or float64.
    count
        Most triplets to keep.
    tolerance
        Leave out values up to this share of `scale`, and what lies below the numerical rank of the dtype; None keeps
        every triplet, also those of the null space, whose vectors are arbitrary.
    scale
        What `tolerance` is relative to; σ_1 by default.

    Notes
    -----
    With a tolerance through the smaller Gram matrix in float64 (`truncated_svd`), else LAPACK in float64.
    """
    if tolerance is not None:
        # What is left out anyway is not to decide how the matrix is decomposed.
        svd = truncated_svd(matrix, 1.0, most=count, least=tolerance if scale is None else 0.0)
        if svd.rank:
            limit = tolerance * (float(svd.singular_values[0]) if scale is None else scale)
            count = min(count, int((svd.singular_values > limit).sum()))
        left, right = svd.left, svd.right
        if count < svd.rank:
            # Copies, for a view of some columns would hold them all.
            left, right = left[:, :count].clone(), right[:, :count].clone()
        return Triplets(left, svd.singular_values[:count], right)
    try:
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    except LinAlgError:
        msg = f"the SVD of a {matrix.shape[0]}×{matrix.shape[1]} matrix did not converge in float64"
        raise DecompositionError(msg) from None
    return Triplets(left.to(matrix.dtype), values, right.mT.to(matrix.dtype)).first(count)


def orthogonalised(columns: Float[Tensor, "rows count"], tolerance: float | None) -> Float[Tensor, "rows count"]:
    """Compute the polar factor ``P Qᵀ`` of ``X = P D Qᵀ``, the orthonormal columns nearest to those of X.

    With a tolerance, values up to ``tolerance · d_1`` are left out: where columns depend on each other, the full
    factor adds arbitrary directions. Then it is computed as ``X Q D⁻¹ Qᵀ`` from the Gram matrix in float64.
    """
    if columns.shape[1] == 0:
        return columns
    if tolerance is None or columns.shape[1] > columns.shape[0]:
        left, values, right = torch.linalg.svd(columns.double(), full_matrices=False)
        count = values.shape[0] if tolerance is None else int((values > tolerance * values[0]).sum())
        full: Tensor = left[:, :count] @ right[:count]
        return full.to(columns.dtype)
    squares, vectors = eigenvectors_in_place(gram_matrix(columns))
    # Squaring loses what lies below √eps; a looser tolerance than that is honoured as it is.
    least = max(tolerance, 1e-6) ** 2 * squares[-1]
    first = int((squares <= least).sum())
    vectors = vectors[:, first:].div_(squares[first:].pow(0.25))
    inverse_root = vectors @ vectors.mT
    del vectors
    return product(columns, inverse_root)


def recomposed(
    left: Float[Tensor, "rows count"], values: Float[Tensor, " count"], right: Float[Tensor, "cols count"]
) -> Float[Tensor, "rows cols"]:
    """Compute ``Σ_r s_r u_r v_rᵀ``; the strengths go to the smaller side, of which that makes a copy."""
    strengths = values.to(left.dtype)
    if left.shape[0] > right.shape[0]:
        return left @ (right * strengths).mT
    return (left * strengths) @ right.mT


def along(
    matrix: Float[Tensor, "rows cols"], left: Float[Tensor, "rows count"], right: Float[Tensor, "cols count"]
) -> Float[Tensor, " count"]:
    """Compute ``u_rᵀ X v_r`` in float64, some directions at a time."""
    sides = zip(torch.split(left, DIRECTIONS, 1), torch.split(right, DIRECTIONS, 1), strict=True)
    return torch.cat([((matrix.mT @ some).double() * others.double()).sum(0) for some, others in sides])


def stacked(parts: Sequence[Triplets]) -> Triplets:
    """All triplets side by side."""
    return Triplets(
        torch.cat([part.left for part in parts], 1),
        torch.cat([part.values for part in parts]),
        torch.cat([part.right for part in parts], 1),
    )


def weighted(
    task_vectors: Sequence[Float[Tensor, "*shape"]], weight: float | int | Sequence[float | int]
) -> list[Float[Tensor, "*shape"]]:
    """``w_i τ_i`` of every model whose weight is not 0."""
    weights = task_weights(weight, len(task_vectors), 1.0)
    return [vector if one == 1.0 else vector * one for _, vector, one in present(task_vectors, weights)]


def is_decomposed(task_vector: Float[Tensor, "*shape"], context: TensorContext, embeddings: str) -> bool:
    """Whether a tensor is treated as a matrix; everything else gets the mean."""
    if task_vector.ndim != 2 or task_vector.numel() == 0:
        return False
    return context.role == "matrix" or (context.role == "embedding" and embeddings == "svd")


def averaged_by_entry(role: Role, complete: Mapping[str, Any]) -> bool:
    """What is no matrix gets a mean, which each entry has on its own."""
    return role != "matrix" and not (role == "embedding" and complete["embeddings"] == "svd")


def scaled_mean(
    task_vectors: Sequence[Float[Tensor, "*shape"]], like: Float[Tensor, "*shape"], scale: float
) -> Float[Tensor, "*shape"]:
    """``λ/T Σ_i w_i τ_i``, what the official code of TSV and Iso does with everything that is not a matrix."""
    merged = torch.zeros_like(like)
    for vector in task_vectors:
        merged.add_(vector, alpha=scale / len(task_vectors))
    return merged


def cut_tolerance(rank_cut: bool, rank_tolerance: float) -> float | None:
    """The tolerance for `leading_triplets`; None for no cut."""
    return rank_tolerance if rank_cut else None


def decomposing(
    name: str, function: Callable[..., Tensor], own: Sequence[Parameter], *, summary: str, source: str
) -> MergeMethod:
    """A method that decomposes matrices and takes the mean of everything else, with the parameters that this brings."""
    return MergeMethod(
        name=name,
        function=function,
        parameters=(WEIGHT, SCALE, *own, EMBEDDINGS, RANK_CUT, RANK_TOLERANCE),
        summary=summary,
        source=source,
        variants=CUT_VARIANTS,
        by_entry=averaged_by_entry,
    )
