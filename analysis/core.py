"""Task interaction matrices: the task vectors in the coordinates of the global basis."""

import torch
from jaxtyping import Float
from torch import Tensor


def core_matrix(
    left: Float[Tensor, "left_rank k"],
    singular_values: Float[Tensor, " k"],
    right: Float[Tensor, "right_rank k"],
    chunk: int = 256,
) -> Float[Tensor, "left_rank right_rank"]:
    """Compute ``Ĉ_i = U_gᵀ τ_i V_g`` of the truncated task vector, as ``(U_gᵀU_i) Σ_i (V_gᵀV_i)ᵀ``.

    Rows of C are output directions (left basis), columns are input directions (right basis).

    Parameters
    ----------
    left, right
        Coordinates of U_i and V_i in the global bases of the two sides.
    singular_values
        Σ_i.

    Returns
    -------
    The matrix in float64. O(r_left k r_right) time; τ_i itself is not needed. Rows go in chunks.

    References
    ----------
    GLOBA, equations 15 and 16.
    """
    result = left.new_empty(left.shape[0], right.shape[0])
    for start in range(0, left.shape[0], chunk):
        torch.mm(left[start : start + chunk] * singular_values.double(), right.mT, out=result[start : start + chunk])
    return result
