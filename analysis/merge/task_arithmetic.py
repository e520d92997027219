"""Task arithmetic (Ilharco et al., 2023)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.weights import task_weights


def task_arithmetic(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    weight: float | int | Sequence[float | int] = (),
    scale: float | int = 1.0,
) -> Float[Tensor, "*shape"]:
    """Compute ``λ Σ_i w_i τ_i``.

    Parameters
    ----------
    task_vectors
        τ_i of one tensor, of one dtype.
    weight
        w_i: one number for all tasks or one each; 1 by default.
    scale
        λ. Raising it strengthens every task and the interference between them; 1 is the plain sum.

    Notes
    -----
    Accumulates in the dtype of the task vectors, in task order. O(T size).
    """
    total = torch.zeros_like(task_vectors[0])
    for vector, factor in zip(task_vectors, task_weights(weight, len(task_vectors), 1.0), strict=True):
        total.add_(vector, alpha=factor * float(scale))
    return total
