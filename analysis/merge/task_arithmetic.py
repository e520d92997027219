"""Task arithmetic (Ilharco et al., 2023)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext
from analysis.merge.method import MergeMethod, always, present
from analysis.merge.parameter import Parameter
from analysis.merge.weights import SCALE, WEIGHT, task_weights

NORMALIZE = Parameter("normalize", "flag", False, "divide by Σ w_i, unless that is 0")


def task_arithmetic(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext | None = None,
    *,
    weight: float | int | Sequence[float | int] = (),
    scale: float | int = 1.0,
    normalize: bool = False,
) -> Float[Tensor, "*shape"]:
    """Compute ``λ Σ_i w_i τ_i``, with `normalize` divided by ``Σ_i w_i``.

    Parameters
    ----------
    task_vectors
        τ_i of one tensor, of one dtype.
    context
        Not used.
    weight
        w_i: one number for all tasks or one each; 1 by default.
    scale
        λ. Raising it strengthens every task and the interference between them; 1 is the plain sum.
    normalize
        Divide by the sum of the weights, where that is at least 1e-8 in size (mergekit's rule).

    Notes
    -----
    Accumulates in the dtype of the task vectors, in task order. O(T size).

    References
    ----------
    Ilharco et al., Editing models with task arithmetic, ICLR 2023, section 2.
    """
    weights = task_weights(weight, len(task_vectors), 1.0)
    total = sum(weights)
    factor = float(scale) / total if normalize and abs(total) >= 1e-8 else float(scale)
    merged: Tensor | None = None
    for _, vector, one in present(task_vectors, weights):
        merged = vector * (one * factor) if merged is None else merged.add_(vector, alpha=one * factor)
    return torch.zeros_like(task_vectors[0]) if merged is None else merged


TASK_ARITHMETIC = MergeMethod(
    name="task_arithmetic",
    function=task_arithmetic,
    parameters=(WEIGHT, SCALE, NORMALIZE),
    summary="scaled sum of the task vectors",
    source="Ilharco et al., ICLR 2023; mlfoundations/task_vectors",
    variants={"paper": {}, "mergekit": {}},
    by_entry=always,
)
