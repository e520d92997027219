"""The published global basis as LAPACK happens to return it, for comparison."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.basis.side import SideBasis, cluster_tolerance, clustered_mask, find_clusters, kept_rank


def lapack_basis(
    bases: Sequence[Float[Tensor, "dim _"]], singular_values: Sequence[Float[Tensor, " _"]], energy: float
) -> SideBasis:
    """Compute the left singular vectors of ``[U_1 … U_T]`` by one float64 SVD of the concatenation.

    This is the procedure of the authors' code. Inside clusters of equal singular values the vectors are whatever
    LAPACK returns: another thread count, driver or a perturbation of 1e-12 gives others. Use it to compare with
    published numbers, not to decide.

    Parameters
    ----------
    bases, singular_values, energy
        As for `canonical_basis`; the singular values of the tasks are not used.

    Returns
    -------
    The basis, in the dtype of the inputs; coordinates and strengths in float64.

    Notes
    -----
    O(dim K min(dim, K)) time for K = Σ k_i, and a float64 copy of the concatenation.

    References
    ----------
    GLOBA, equations 11–14.
    """
    del singular_values
    dtype = bases[0].dtype
    stacked = torch.cat([basis.double() for basis in bases], dim=1)
    vectors, strengths, _ = torch.linalg.svd(stacked, full_matrices=False)
    rank = kept_rank(strengths, energy, smallest=0.0)
    clusters = find_clusters(strengths, cluster_tolerance(dtype, stacked.shape[1]))
    vectors = vectors[:, :rank]
    return SideBasis(
        vectors=vectors.to(dtype).contiguous(),
        coordinates=tuple(vectors.mT @ basis.double() for basis in bases),
        strengths=strengths[:rank].clone(),
        clustered=clustered_mask(clusters, strengths.shape[0])[:rank].to(vectors.device),
    )
