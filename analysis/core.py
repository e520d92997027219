"""Task interaction matrices: the task vectors in the coordinates of the global basis."""

from jaxtyping import Float
from torch import Tensor

from analysis.basis import SideBasis


def core_matrix(
    left: SideBasis, right: SideBasis, singular_values: Float[Tensor, " k"], task: int
) -> Float[Tensor, "left_rank right_rank"]:
    """Compute ``Ĉ_i = U_gᵀ τ_i V_g`` of the truncated task vector, as ``(U_gᵀU_i) Σ_i (V_gᵀV_i)ᵀ``.

    Rows of C are output directions (left basis), columns are input directions (right basis).

    Parameters
    ----------
    left, right
        The global bases of the two sides, with the coordinates of every task.
    singular_values
        Σ_i, as many as task i has coordinates.
    task
        Index of the task from 0.

    Returns
    -------
    The matrix in float64. O(r_left k r_right) time; τ_i itself is not needed.

    References
    ----------
    GLOBA, equations 15 and 16.
    """
    return (left.coordinates[task] * singular_values.double()) @ right.coordinates[task].mT
