"""Weight averaging: the linear interpolation of models (Wortsman et al., 2022)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.task_arithmetic import task_arithmetic
from analysis.merge.weights import task_weights


def linear(
    task_vectors: Sequence[Float[Tensor, "*shape"]], weight: float | int | Sequence[float | int] = ()
) -> Float[Tensor, "*shape"]:
    """Compute ``Σ_i w_i τ_i / Σ_i w_i``: added to W0, the weighted average of the fine-tuned models.

    Parameters
    ----------
    task_vectors
        τ_i of one tensor, of one dtype.
    weight
        w_i: one number for all tasks or one each; equal by default.

    Raises
    ------
    OptionsError
        If the weights sum to 0.
    """
    weights = task_weights(weight, len(task_vectors), 1.0)
    total = sum(weights)
    if total == 0.0:
        msg = f"weight is {weights}: an average needs weights that do not sum to 0"
        raise OptionsError(msg)
    return task_arithmetic(task_vectors, weight=[value / total for value in weights])
