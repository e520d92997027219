"""Orthogonality of the subspaces of two tasks: principal angles and shared energy."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.basis.canonical import cross_product
from analysis.decompose import TruncatedSVD


@dataclass(frozen=True)
class SubspaceOverlap:
    """How the spaces of task 2 lie against those of task 1.

    `left_angles` and `right_angles` are the principal angles in radians, ascending, min(k_1, k_2) each. `left` and
    `right` are ``‖U_1ᵀU_2‖_F² / min(k_1, k_2)`` and the same for V: 0 orthogonal, 1 contained; 0 where a task is zero.
    `both_shared` … `none_shared` are the shares of the energy of task 2 in the four blocks of GLOBA, appendix,
    equation 4: inside task 1's output and input spaces, only its output space, only its input space, neither.
    """

    left_angles: Float[Tensor, " pairs"]
    right_angles: Float[Tensor, " pairs"]
    left: float
    right: float
    both_shared: float
    output_shared: float
    input_shared: float
    none_shared: float


def subspace_overlap(first: TruncatedSVD, second: TruncatedSVD) -> SubspaceOverlap:
    """Compare the singular subspaces of two truncated task vectors.

    Returns
    -------
    The angles and shares, in float64. O((m + n) k_1 k_2) GEMMs and two SVDs of k_1 × k_2.

    References
    ----------
    GLOBA, section 3.2 and appendix, equations 1–5.
    """
    left = cross_product(first.left, second.left)
    right = cross_product(first.right, second.right)
    values = second.singular_values
    total = second.energy
    both = float(((left * values) @ right.mT).square().sum())
    output = float((left * values).square().sum())
    inputs = float((right * values).square().sum())
    shares = (both, output - both, inputs - both, total - output - inputs + both)
    return SubspaceOverlap(
        principal_angles(left),
        principal_angles(right),
        _mean_square_cosine(left),
        _mean_square_cosine(right),
        *(max(share / total, 0.0) if total > 0 else 0.0 for share in shares),
    )


def principal_angles(cross: Float[Tensor, "first second"]) -> Float[Tensor, " pairs"]:
    """Principal angles in radians, ascending: arc cosines of the singular values of ``U_1ᵀ U_2``."""
    if cross.numel() == 0:
        return cross.new_zeros(0)
    cosines: Tensor = torch.linalg.svdvals(cross)
    return cosines.clamp(max=1.0).arccos()


def _mean_square_cosine(cross: Float[Tensor, "first second"]) -> float:
    return float(cross.square().sum()) / min(cross.shape) if cross.numel() else 0.0
