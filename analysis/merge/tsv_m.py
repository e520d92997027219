"""TSV-M: task singular vectors, merged after whitening (Gargiulo et al., 2025)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext
from analysis.merge.triplets import (
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


def tsv_m(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext,
    *,
    weight: float | int | Sequence[float | int] = (),
    scale: float | int = 1.0,
    embeddings: str = "average",
    rank_cut: bool = True,
    rank_tolerance: float = 1e-5,
) -> Float[Tensor, "*shape"]:
    """Compute ``α U⊥ diag(σ_1 … σ_T) V⊥ᵀ``: the leading ``⌊r/T⌋`` triplets of every task, whitened together.

    ``U⊥`` is the polar factor of ``[U_1 … U_T]``, ``V⊥`` that of ``[V_1 … V_T]``.

    Parameters
    ----------
    task_vectors
        τ_i of one tensor.
    context
        Its role decides whether the tensor is a matrix.
    weight
        Each τ_i is multiplied before its SVD. A model of weight 0 does not count in T.
    scale
        α, also on the mean of what is not a matrix.
    embeddings
        ``svd`` treats embeddings and lm_head like matrices; ``average`` takes their mean.
    rank_cut, rank_tolerance
        See `leading_triplets`. Without the cut, null vectors of low-rank task vectors enter the whitening.

    Notes
    -----
    An eigendecomposition of the smaller Gram matrix per task and of two r×r matrices: about ``9 (T + 2) r³``, all in
    float64. The sum of the tasks is not divided by T, the mean of what is not a matrix is: α scales both. A matrix with
    a side shorter than T has no triplet for each task and gets the mean, where the official code gives 0.

    References
    ----------
    Gargiulo et al., Task Singular Vectors, CVPR 2025, algorithm 1; the official code for what is not a matrix.
    """
    taus = weighted(task_vectors, weight)
    count = int(min(task_vectors[0].shape, default=0) * (1.0 / max(1, len(taus))))
    if not is_decomposed(task_vectors[0], context, embeddings) or not taus or not count:
        return scaled_mean(taus, task_vectors[0], float(scale))
    tolerance = cut_tolerance(rank_cut, rank_tolerance)
    chosen = stacked([leading_triplets(tau, count, tolerance) for tau in taus])
    left, values, right = chosen.left, chosen.values, chosen.right
    del chosen
    left = orthogonalised(left, tolerance)
    right = orthogonalised(right, tolerance)
    return recomposed(left, values * float(scale), right)


TSV_M = decomposing(
    "tsv_m",
    tsv_m,
    (),
    summary="leading singular triplets of every task, whitened together",
    source="Gargiulo et al., CVPR 2025 and its code",
)
