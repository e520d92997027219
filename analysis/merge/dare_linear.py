"""DARE with task arithmetic: drop at random, rescale, sum (Yu et al., 2024)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext
from analysis.merge.drop import RESCALE, SEED, NormRatios, Rescale, drop, factors
from analysis.merge.method import MergeMethod, always, present
from analysis.merge.parameter import Parameter
from analysis.merge.task_arithmetic import NORMALIZE
from analysis.merge.weights import SCALE, WEIGHT, per_task, task_weights

DENSITY = Parameter(
    "density", "numbers", (0.9,), "chance 1 − p that an entry is kept, for all models or for each", 0.0, 1.0, True
)


def dare_linear(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext,
    *,
    weight: float | int | Sequence[float | int] = (),
    density: float | int | Sequence[float | int] = 0.9,
    rescale: Rescale = "inverse",
    normalize: bool = False,
    scale: float | int = 1.0,
    seed: int = 0,
) -> Float[Tensor, "*shape"]:
    """Compute ``λ Σ_i w_i τ̂_i`` with τ̂_i dropped at random and rescaled, see `drop`.

    Parameters
    ----------
    task_vectors
        τ_i of one tensor.
    context
        Its name goes into the seed of the masks; with ``rescale="norm"`` it holds what `NormRatios` found.
    weight, scale, normalize
        As in task arithmetic.
    density
        Chance that an entry is kept, in (0, 1]; lowering it leaves fewer, larger entries.
    rescale
        ``inverse`` keeps the expectation, ``norm`` the L1 norm of each tensor.
    seed
        Another seed drops other entries.

    Notes
    -----
    O(T n). A tensor may lose all its entries; the result is then the base's.

    References
    ----------
    Yu et al., ICML 2024, section 3.
    """
    tasks = len(task_vectors)
    shares = per_task("density", density, tasks, 1.0)
    scales = factors(rescale, shares, context.found)
    weights = task_weights(weight, tasks, 1.0)
    total = sum(weights)
    factor = float(scale) / total if normalize and abs(total) >= 1e-8 else float(scale)
    merged = task_vectors[0].new_zeros(task_vectors[0].shape)
    for index, vector, one in present(task_vectors, weights):
        kept = drop(vector, shares[index], scales[index], seed, context.name, index, context.first)()
        merged.add_(kept, alpha=one * factor)
    return merged


def norm_ratios(complete: Mapping[str, Any], tasks: int, dtype: torch.dtype) -> NormRatios | None:
    """The pass over a tensor that ``rescale=norm`` needs."""
    del dtype
    if complete["rescale"] != "norm":
        return None
    return NormRatios(per_task("density", complete["density"], tasks, 1.0), complete["seed"])


DARE_LINEAR = MergeMethod(
    name="dare_linear",
    function=dare_linear,
    parameters=(WEIGHT, DENSITY, RESCALE, NORMALIZE, SCALE, SEED),
    summary="drop entries at random, rescale, sum",
    source="Yu et al., ICML 2024; MergeLM",
    variants={
        "paper": {},
        "mergekit": {"density": (1.0,), "rescale": "norm"},
        "peft": {},
    },
    by_entry=always,
    prepare_tensor=norm_ratios,
)
