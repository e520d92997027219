"""Orthogonality of the subspaces of two tasks: principal angles and shared energy."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from analysis.basis.angles import PrincipalAngles, principal_angles
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


def subspace_overlap(
    first: TruncatedSVD,
    second: TruncatedSVD,
    left: PrincipalAngles | None = None,
    right: PrincipalAngles | None = None,
) -> SubspaceOverlap:
    """Compare the singular subspaces of two truncated task vectors.

    Parameters
    ----------
    first, second
        The two task vectors.
    left, right
        The principal angles of their left and right spaces where they are known already.

    Returns
    -------
    The angles and shares, in float64. O(k_1² k_2) with known angles; else see `principal_angles`.

    References
    ----------
    GLOBA, section 3.2 and appendix, equations 1–5.
    """
    left = left or principal_angles(first.left, second.left)
    right = right or principal_angles(first.right, second.right)
    values = second.singular_values
    total = second.energy
    weighted = left.cross * values
    both = float((weighted @ right.cross.mT).square().sum())
    output = float(weighted.square().sum())
    inputs = float((right.cross * values).square().sum())
    shares = (both, output - both, inputs - both, total - output - inputs + both)
    return SubspaceOverlap(
        left.angles,
        right.angles,
        _mean_square_cosine(left.cross),
        _mean_square_cosine(right.cross),
        *(max(share / total, 0.0) if total > 0 else 0.0 for share in shares),
    )


def _mean_square_cosine(cross: Float[Tensor, "first second"]) -> float:
    return float(cross.square().sum()) / min(cross.shape) if cross.numel() else 0.0
