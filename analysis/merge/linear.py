"""Weight averaging: the linear interpolation of models (Wortsman et al., 2022)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.context import TensorContext
from analysis.merge.method import MergeMethod, always
from analysis.merge.parameter import Parameter
from analysis.merge.task_arithmetic import task_arithmetic
from analysis.merge.weights import WEIGHT, task_weights


def linear(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext | None = None,
    *,
    weight: float | int | Sequence[float | int] = (),
    normalize: bool = True,
) -> Float[Tensor, "*shape"]:
    """Compute ``Σ_i w_i τ_i / Σ_i w_i``: added to W0, the weighted average of the fine-tuned models.

    Parameters
    ----------
    task_vectors
        τ_i of one tensor, of one dtype.
    context
        Holds the base weight, which is needed without `normalize`.
    weight
        w_i: one number for all tasks or one each; equal by default.
    normalize
        Without it the result is ``Σ_i w_i W_i``, that is ``Σ_i w_i τ_i + (Σ_i w_i − 1) W0`` on top of W0.

    Raises
    ------
    OptionsError
        If the weights sum to 0 and are to be normalized, or the base is missing where it is needed.

    Notes
    -----
    O(T size).

    References
    ----------
    Wortsman et al., Model soups, ICML 2022 (equal weights); mergekit's ``linear``.
    """
    weights = task_weights(weight, len(task_vectors), 1.0)
    total = sum(weights)
    if not normalize:
        merged = task_arithmetic(task_vectors, weight=weights)
        if total != 1.0:
            if context is None or context.base is None:
                msg = "linear without normalize needs the base weight; give normalize=true"
                raise OptionsError(msg)
            merged.add_(context.base, alpha=total - 1.0)
        return merged
    if total == 0.0:
        msg = f"weight is {weights}: an average needs weights that do not sum to 0"
        raise OptionsError(msg)
    return task_arithmetic(task_vectors, weight=[value / total for value in weights])


LINEAR = MergeMethod(
    name="linear",
    function=linear,
    parameters=(WEIGHT, Parameter("normalize", "flag", True, "divide by Σ w_i")),
    summary="weighted average of the models",
    source="Wortsman et al., ICML 2022",
    variants={"paper": {}, "mergekit": {}},
    by_entry=always,
)
