"""Alignment of two tasks' singular vectors, rank by rank."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from analysis.basis.angles import cross_product
from analysis.decompose import TruncatedSVD

COUNT = 32
"""Ranks that are compared, as in the paper's figures."""


@dataclass(frozen=True)
class RankAlignment:
    """The leading triplets of two task vectors against each other.

    `left[r]` is ``|u_r · u'_r|`` and `right[r]` ``|v_r · v'_r|`` of the r-th triplets: 0 orthogonal, 1 the same. The
    norm ``‖M_rᵀ M'_r‖_F`` of the rank-one matrices ``M = u vᵀ`` equals `left`. `similarity[a, b]` is
    ``(u_a · u'_b)² + (v_a · v'_b)²``, between 0 and 2; its sum over a block of ranks is
    ``S = ‖U_AᵀU_B‖_F² + ‖V_AᵀV_B‖_F²`` of that block.
    """

    left: Float[Tensor, " ranks"]
    right: Float[Tensor, " ranks"]
    similarity: Float[Tensor, "first second"]


def rank_alignment(first: TruncatedSVD, second: TruncatedSVD, count: int = COUNT) -> RankAlignment:
    """Compare the first `count` singular triplets of two task vectors.

    Returns
    -------
    The alignment of as many ranks as both have, in float64. O((m + n) count²).

    References
    ----------
    AlignMerge, Figure 1(b) for the similarity, Figure 10 for the rank-one alignment.
    """
    left = cross_product(first.left[:, :count], second.left[:, :count])
    right = cross_product(first.right[:, :count], second.right[:, :count])
    return RankAlignment(left.diagonal().abs(), right.diagonal().abs(), left.square() + right.square())
