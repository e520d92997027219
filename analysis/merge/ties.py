"""TIES: trim, elect a sign, merge what agrees (Yadav et al., 2023)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.context import TensorContext
from analysis.merge.method import MergeMethod, always
from analysis.merge.parameter import Parameter
from analysis.merge.signs import Combine, Elect, Vectors, combine_agreeing, sign_votes
from analysis.merge.trim import TensorTrim, trim_above
from analysis.merge.weights import SCALE, WEIGHT, per_task, task_weights
from analysis.merge.whole_model import WholeModelTrim

TRIM = Parameter(
    "trim", "word", "global", "rank the entries of the whole task vector or of each tensor", words=("global", "tensor")
)
ELECT = Parameter(
    "elect",
    "word",
    "total",
    "sign of Σ τ_i, of Σ w_i τ_i or of Σ sign τ_i",
    words=("total", "weighted", "frequency"),
)
COMBINE = Parameter(
    "combine",
    "word",
    "mean",
    "divide what agrees by the sum of its weights, by its number, or not at all",
    words=("mean", "count", "sum"),
)


def ties(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext,
    *,
    weight: float | int | Sequence[float | int] = (),
    density: float | int | Sequence[float | int] = 0.2,
    trim: str = "global",
    elect: Elect = "total",
    combine: Combine = "mean",
    scale: float | int = 1.0,
) -> Float[Tensor, "*shape"]:
    """Compute ``λ Σ_{i∈A} w_i τ̂_i / d``: τ̂_i trimmed, A the models whose sign is the elected one, entry by entry.

    Parameters
    ----------
    task_vectors
        τ_i of one tensor.
    context
        For ``trim="global"`` holds a `WholeModelTrim` that has seen every tensor, for ``trim="tensor"`` a `TensorTrim`
        that has seen every part of this one.
    weight
        w_i, 1 by default. A model of weight 0 neither votes nor counts.
    density
        Share of entries kept in τ̂_i, in (0, 1]; raising it keeps more of each task and more conflict. A tensor that
        is trimmed on its own keeps one entry at least.
    trim
        ``global``: the entries that reach the threshold of the whole task vector (⌊d K⌋ + 1 and ties), so that a
        tensor may keep none. ``tensor``: exactly ⌊n K⌋ of each tensor.
    elect, combine
        See `sign_votes` and `combine_agreeing`.
    scale
        λ.

    Notes
    -----
    Votes that cancel exactly elect the majority of the whole model's signs (``global``) or + (``tensor``).
    O(T n), twice, after the passes of the trim; memory three tensors besides the task vectors, or three parts.

    References
    ----------
    Yadav et al., TIES-Merging, NeurIPS 2023, algorithm 1; where the paper is silent, the authors' notebook.
    """
    vectors, weights = _trimmed(task_vectors, context, weight=weight, density=density, trim=trim)
    votes = _vote(vectors, weights, task_vectors[0], elect)
    tie = _whole(context).majority if trim == "global" else 1
    return combine_agreeing(vectors, weights, votes, elect, combine, tie).mul_(float(scale))


def trimmed(
    sources: Vectors, context: TensorContext, shares: Sequence[float], trim: str, numbers: Sequence[int]
) -> Vectors:
    """The trimmed task vectors of the models of these numbers, made when they are needed."""
    if trim == "global":
        whole = _whole(context)
        limits = [whole.threshold(number, shares[number]) for number in numbers]
        return [partial(_above, sources[n], limit) for n, limit in zip(numbers, limits, strict=True)]
    trims = _of_tensor(context)
    return [partial(_counted, sources[number], trims, number, context.first) for number in numbers]


def _trimmed(
    task_vectors: Sequence[Tensor], context: TensorContext, *, weight: Any, density: Any, trim: str, **_: Any
) -> tuple[Vectors, list[float]]:
    weights = task_weights(weight, len(task_vectors), 1.0)
    shares = per_task("density", density, len(task_vectors), 1.0)
    numbers = [number for number, one in enumerate(weights) if one != 0.0]
    vectors = trimmed(_sources(task_vectors, context), context, shares, trim, numbers)
    return vectors, [weights[number] for number in numbers]


def _sources(task_vectors: Sequence[Tensor], context: TensorContext, **_: Any) -> Vectors:
    return [partial(_itself, vector) for vector in task_vectors]


def _votes(task_vectors: Sequence[Tensor], context: TensorContext, *, elect: Elect, **parameters: Any) -> Tensor:
    vectors, weights = _trimmed(task_vectors, context, **parameters)
    return _vote(vectors, weights, task_vectors[0], elect)


def _vote(vectors: Vectors, weights: Sequence[float], like: Tensor, elect: Elect) -> Tensor:
    return sign_votes(vectors, weights, elect) if vectors else like.new_zeros(like.shape)


def _prepare(complete: Sequence[Mapping[str, Any]], tasks: int) -> WholeModelTrim | None:
    found = WholeModelTrim(complete, tasks, "density", _sources, _votes)
    return found if found.passes else None


def _whole(context: TensorContext) -> WholeModelTrim:
    if not isinstance(context.prepared, WholeModelTrim):
        msg = "trim=global needs a first pass over the whole checkpoint; choose trim=tensor for a tensor on its own"
        raise OptionsError(msg)
    return context.prepared


def _of_tensor(context: TensorContext) -> TensorTrim:
    assert isinstance(context.found, TensorTrim), "trim=tensor needs passes over the tensor"
    return context.found


def _itself(vector: Tensor) -> Tensor:
    return vector


def _above(source: Any, limit: float) -> Tensor:
    return trim_above(source(), limit)


def _counted(source: Any, trims: TensorTrim, number: int, first: int) -> Tensor:
    return trims.kept(number, source(), first)


def _prepare_tensor(complete: Mapping[str, Any], tasks: int, dtype: torch.dtype) -> TensorTrim | None:
    if complete["trim"] == "global":
        return None
    return TensorTrim(per_task("density", complete["density"], tasks, 1.0), dtype, _sources)


DENSITY = Parameter("density", "numbers", (0.2,), "share of entries kept, of all models or of each", 0.0, 1.0, True)

TIES = MergeMethod(
    name="ties",
    function=ties,
    parameters=(WEIGHT, DENSITY, TRIM, ELECT, COMBINE, SCALE),
    summary="trim to the largest entries, elect a sign per entry, average what agrees",
    source="Yadav et al., NeurIPS 2023 and its notebook",
    variants={
        "paper": {},
        "mergekit": {"density": (1.0,), "trim": "tensor", "elect": "weighted", "combine": "mean"},
        "peft": {"trim": "tensor", "elect": "total", "combine": "count"},
    },
    by_entry=always,
    prepare=_prepare,
    prepare_tensor=_prepare_tensor,
)
