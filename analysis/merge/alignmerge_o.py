"""AlignMerge-O: one shared leading direction, all else made orthogonal between the tasks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext
from analysis.merge.triplets import (
    Triplets,
    along,
    cut_tolerance,
    decomposing,
    is_decomposed,
    leading_triplets,
    orthogonalised,
    recomposed,
    scaled_mean,
    stacked,
    weighted,
)
from analysis.task_vector import frobenius_norm


def alignmerge_o(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext,
    *,
    weight: float | int | Sequence[float | int] = (),
    scale: float | int = 1.0,
    embeddings: str = "average",
    rank_cut: bool = True,
    rank_tolerance: float = 1e-5,
) -> Float[Tensor, "*shape"]:
    """Compute ``λ √(Σσ̂²/Σs²) Σ_r s_r û_r v̂_rᵀ`` with ``s_r = σ̂_r/η_r = û_rᵀ (Σ_i τ_i) v̂_r``.

    Û and V̂ are the polar factors of ``[u_top, {u_res,i, u_i^{2:L}}]`` and its right counterpart, ``L = ⌊(R−1)/K⌋``:
    the mean of the leading directions, what it leaves of each, and the next ones of each task.

    Parameters
    ----------
    task_vectors, context, weight, scale, embeddings
        As in `tsv_m`. The papers have no factor: λ is 1.
    rank_cut, rank_tolerance
        See `leading_triplets` and `orthogonalised`.

    Notes
    -----
    u_top and the K u_res,i lie in the span of the K leading vectors: Û is singular for every input, by one dimension at
    least, and so is V̂. The published ``P Qᵀ`` then holds a direction that is whatever LAPACK returns for a null space:
    reordering the rows of the input moves the result by 12 to 26 % of its norm. The cut leaves that direction out,
    which makes the answer unique; the factor in front keeps ``‖σ̂‖`` all the same.

    Singular vectors have a free sign: each task's leading pair is turned so that ``u·u' + v·v' ≥ 0`` with the first
    task's, or their sum would cancel. A matrix with ``R − 1 < K`` has no room for the tasks and gets the mean, as
    does everything that is not a matrix. About ``9 (K + 2) R³``.

    References
    ----------
    AlignMerge, equations 11–14 and algorithm 1. Line 24's η takes the sum of the task vectors, where appendix E.2
    names the dominant one. σ̂/η is never formed as a quotient, so that a vanishing η does no harm.
    """
    taus = weighted(task_vectors, weight)
    if not is_decomposed(task_vectors[0], context, embeddings) or not taus:
        return scaled_mean(taus, task_vectors[0], float(scale))
    count = (min(taus[0].shape) - 1) // len(taus)
    if count < 1:
        return scaled_mean(taus, task_vectors[0], float(scale))
    tolerance = cut_tolerance(rank_cut, rank_tolerance)
    found = [leading_triplets(tau, count, tolerance) for tau in taus]
    found = [one for one in found if one.rank]
    if not found:
        return torch.zeros_like(task_vectors[0])
    chosen = _with_shared_top(found, len(taus), tolerance)
    del found
    left, values, right = chosen.left, chosen.values, chosen.right
    del chosen
    left = orthogonalised(left, tolerance)
    right = orthogonalised(right, tolerance)
    strengths = along(scaled_mean(taus, task_vectors[0], float(len(taus))), left, right)
    merged = recomposed(left, strengths, right)
    # With orthonormal columns this norm is that of the strengths, as the algorithm has it.
    size = frobenius_norm(merged)
    return merged if size == 0.0 else merged.mul_(float(scale) * float(values.norm()) / size)


def _with_shared_top(found: Sequence[Triplets], tasks: int, tolerance: float | None) -> Triplets:
    """The shared leading triplet, then of each task its residual and its other triplets."""
    pairs = _aligned([(one.left[:, 0].double(), one.right[:, 0].double()) for one in found])
    top_left, top_right = (_unit(torch.stack(side).sum(0)) for side in zip(*pairs, strict=True))
    value = torch.stack([one.values[0] for one in found]).sum() / tasks
    dtype = found[0].left.dtype
    parts = [Triplets(top_left.to(dtype)[:, None], value[None], top_right.to(dtype)[:, None])]
    for one, pair in zip(found, pairs, strict=True):
        residual = _residual(pair, (top_left, top_right))
        if tolerance is None or float(residual.values[0]) > tolerance:
            values = residual.values * one.values[0]
            parts.append(Triplets(residual.left.to(dtype), values, residual.right.to(dtype)))
        parts.append(Triplets(one.left[:, 1:], one.values[1:], one.right[:, 1:]))
    return stacked(parts)


def _aligned(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Each pair u, v turned together towards the first."""
    left, right = pairs[0]
    signs = [-1.0 if float(u @ left + v @ right) < 0.0 else 1.0 for u, v in pairs]
    return [(u * sign, v * sign) for (u, v), sign in zip(pairs, signs, strict=True)]


def _residual(pair: tuple[Tensor, Tensor], top: tuple[Tensor, Tensor]) -> Triplets:
    """The leading triplet of ``u vᵀ − (u·û)(v·v̂) û v̂ᵀ``, from the 2×2 matrix it is on the spans of u, û and v, v̂."""
    bases, coordinates = [], []
    for vector, shared in zip(pair, top, strict=True):
        along = float(vector @ shared)
        rest = vector - along * shared
        rest = rest - float(rest @ shared) * shared
        size = float(rest.norm())
        bases.append(torch.stack([shared, _unit(rest)], 1))
        coordinates.append(torch.tensor([along, size], dtype=torch.float64, device=vector.device))
    small = torch.outer(coordinates[0], coordinates[1])
    small[0, 0] = 0.0
    left, values, right = torch.linalg.svd(small)
    return Triplets(bases[0] @ left[:, :1], values[:1], bases[1] @ right[:1].mT)


def _unit(vector: Tensor) -> Tensor:
    size = vector.norm()
    return vector / size if float(size) > 0.0 else vector


ALIGNMERGE_O = decomposing(
    "alignmerge_o",
    alignmerge_o,
    (),
    summary="shared leading direction, the rest orthogonal between tasks",
    source="AlignMerge, algorithm 1",
)
