"""Iso-C: the summed task vectors with an isotropic spectrum (Marczak et al., 2025)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext
from analysis.merge.triplets import (
    cut_tolerance,
    decomposing,
    is_decomposed,
    leading_triplets,
    recomposed,
    scaled_mean,
    weighted,
)


def iso_c(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext,
    *,
    weight: float | int | Sequence[float | int] = (),
    scale: float | int = 1.0,
    embeddings: str = "average",
    rank_cut: bool = True,
    rank_tolerance: float = 1e-5,
) -> Float[Tensor, "*shape"]:
    """Compute ``α σ̄ U Vᵀ`` from ``Σ_i w_i τ_i = U Σ Vᵀ``, σ̄ the mean of the singular values.

    Parameters
    ----------
    task_vectors, context, weight, scale, embeddings
        As in `tsv_m`.
    rank_cut, rank_tolerance
        See `leading_triplets`; σ̄ is the mean of the values that are kept, so that their sum stays. Without the cut, a
        sum of low rank gets most of its energy from arbitrary directions of its null space.

    Notes
    -----
    One eigendecomposition of the smaller Gram matrix, about ``9 r³``.

    References
    ----------
    Marczak et al., No task left behind, ICML 2025, section 4.1, algorithm 1.
    """
    taus = weighted(task_vectors, weight)
    if not is_decomposed(task_vectors[0], context, embeddings) or not taus:
        return scaled_mean(taus, task_vectors[0], float(scale))
    total = scaled_mean(taus, task_vectors[0], float(len(taus)))
    del taus
    found = leading_triplets(total, min(total.shape), cut_tolerance(rank_cut, rank_tolerance))
    if not found.rank:
        return total
    del total
    return recomposed(found.left, found.values.mean().expand(found.rank) * float(scale), found.right)


ISO_C = decomposing(
    "iso_c",
    iso_c,
    (),
    summary="sum of the task vectors with all singular values equal",
    source="Marczak et al., ICML 2025 and its code",
)
