"""DARE with TIES: drop at random, rescale, elect a sign, merge what agrees (Yu et al., 2024)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from analysis.merge.dare_linear import DENSITY
from analysis.merge.drop import RESCALE, SEED, Rescale, drop
from analysis.merge.method import MergeMethod, Parameter, TensorContext
from analysis.merge.signs import Combine, Elect, Vectors, combine_agreeing, sign_votes
from analysis.merge.ties import COMBINE, ELECT, TRIM, trimmed
from analysis.merge.weights import SCALE, WEIGHT, per_task, task_weights
from analysis.merge.whole_model import WholeModelTrim

TRIM_DENSITY = Parameter(
    "trim_density", "numbers", (0.2,), "share of entries that TIES keeps after the drop", 0.0, 1.0, True
)


def dare_ties(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext,
    *,
    weight: float | int | Sequence[float | int] = (),
    density: float | int | Sequence[float | int] = 0.9,
    rescale: Rescale = "inverse",
    trim_density: float | int | Sequence[float | int] = 0.2,
    trim: str = "global",
    elect: Elect = "total",
    combine: Combine = "mean",
    scale: float | int = 1.0,
    seed: int = 0,
) -> Float[Tensor, "*shape"]:
    """Compute TIES of the task vectors that DARE has dropped and rescaled.

    Parameters
    ----------
    task_vectors, context, weight, elect, combine, scale
        As in `ties`.
    density, rescale, seed
        As in `dare_linear`.
    trim_density, trim
        The trim of TIES after the drop; 1 trims nothing, as mergekit and PEFT do.

    Notes
    -----
    Masks are drawn again when a task vector is needed again, so that none is kept. O(T n), twice.

    References
    ----------
    Yu et al., ICML 2024, section 4.3 (DARE as a plug-in of TIES).
    """
    chosen = {"weight": weight, "density": density, "rescale": rescale, "seed": seed}
    vectors, weights = _trimmed(task_vectors, context, trim_density=trim_density, trim=trim, **chosen)
    votes = sign_votes(vectors, weights, elect) if vectors else task_vectors[0].new_zeros(task_vectors[0].shape)
    tie = context.prepared.majority if isinstance(context.prepared, WholeModelTrim) and trim == "global" else 1
    return combine_agreeing(vectors, weights, votes, elect, combine, tie).mul_(float(scale))


def _sources(
    task_vectors: Sequence[Tensor], context: TensorContext, *, density: Any, rescale: Rescale, seed: int, **_: Any
) -> Vectors:
    shares = per_task("density", density, len(task_vectors), 1.0)
    return [
        partial(drop, vector, shares[model], rescale, seed, context.name, model, context.first)
        for model, vector in enumerate(task_vectors)
    ]


def _trimmed(
    task_vectors: Sequence[Tensor],
    context: TensorContext,
    *,
    weight: Any,
    trim_density: Any,
    trim: str,
    **parameters: Any,
) -> tuple[Vectors, list[float]]:
    weights = task_weights(weight, len(task_vectors), 1.0)
    shares = per_task("trim_density", trim_density, len(task_vectors), 1.0)
    numbers = [number for number, one in enumerate(weights) if one != 0.0]
    vectors = trimmed(_sources(task_vectors, context, **parameters), context, shares, trim, numbers)
    return vectors, [weights[number] for number in numbers]


def _votes(task_vectors: Sequence[Tensor], context: TensorContext, *, elect: Elect, **parameters: Any) -> Tensor:
    vectors, weights = _trimmed(task_vectors, context, **parameters)
    return sign_votes(vectors, weights, elect) if vectors else task_vectors[0].new_zeros(task_vectors[0].shape)


def _prepare(complete: Sequence[Mapping[str, Any]], tasks: int) -> WholeModelTrim | None:
    found = WholeModelTrim(complete, tasks, "trim_density", _sources, _votes)
    return found if found.passes else None


_AS_A_PLUG_IN = {"trim_density": (1.0,), "trim": "tensor"}

DARE_TIES = MergeMethod(
    name="dare_ties",
    function=dare_ties,
    parameters=(WEIGHT, DENSITY, RESCALE, TRIM_DENSITY, TRIM, ELECT, COMBINE, SCALE, SEED),
    summary="drop entries at random, rescale, then TIES",
    source="Yu et al., ICML 2024; MergeLM",
    variants={
        "paper": {},
        "mergekit": {**_AS_A_PLUG_IN, "density": (1.0,), "rescale": "norm", "elect": "weighted", "combine": "sum"},
        "peft": {**_AS_A_PLUG_IN, "elect": "total", "combine": "count"},
    },
    by_entry=lambda role, complete: (
        complete["rescale"] != "norm" and (complete["trim"] == "global" or complete["trim_density"] == (1.0,))
    ),
    prepare=_prepare,
)
