"""DARE with TIES: drop at random, rescale, elect a sign, merge what agrees (Yu et al., 2024)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext, TensorPasses
from analysis.merge.dare_linear import DENSITY, norm_ratios
from analysis.merge.drop import RESCALE, SEED, Rescale, drop, factors
from analysis.merge.method import MergeMethod, always
from analysis.merge.parameter import Parameter
from analysis.merge.signs import Combine, Elect, Vectors, combine_agreeing, sign_votes
from analysis.merge.ties import COMBINE, ELECT, TRIM, trimmed
from analysis.merge.trim import TensorTrim
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
    A task vector is made again when it is needed again, so that one is in memory at a time; its mask, a quarter of its
    size, is kept. O(T n), twice.

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
    scales = factors(rescale, shares, context.found.norms if isinstance(context.found, DropPasses) else None)
    return [
        drop(vector, shares[model], scales[model], seed, context.name, model, context.first)
        for model, vector in enumerate(task_vectors)
    ]


class DropPasses:
    """Passes over one tensor: first for the norms that the drop restores, then for the trim of what it left.

    Parameters
    ----------
    complete, tasks, dtype
        Parameters of the tensor, number of models, dtype of the task vectors.
    """

    def __init__(self, complete: Mapping[str, Any], tasks: int, dtype: torch.dtype) -> None:
        self.norms = norm_ratios(complete, tasks, dtype)
        trim = complete["trim"] == "tensor"
        shares = per_task("trim_density", complete["trim_density"], tasks, 1.0)
        self.trim = TensorTrim(shares, dtype, partial(_sources, **complete)) if trim else None

    @property
    def done(self) -> bool:
        """Whether the tensor can be merged."""
        return self._at is None

    def see(self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext) -> None:
        """Take in the next part."""
        if self._at is not None:
            self._at.see(task_vectors, replace(context, found=self))

    def end_pass(self) -> None:
        """Go on to the next pass."""
        if self._at is not None:
            self._at.end_pass()

    @property
    def _at(self) -> TensorPasses | None:
        return next((one for one in (self.norms, self.trim) if one is not None and not one.done), None)


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
    sources = _sources(task_vectors, context, **parameters)
    vectors = trimmed(sources, _with_trim(context), shares, trim, numbers)
    return vectors, [weights[number] for number in numbers]


def _with_trim(context: TensorContext) -> TensorContext:
    return replace(context, found=context.found.trim) if isinstance(context.found, DropPasses) else context


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
    by_entry=always,
    prepare=_prepare,
    prepare_tensor=DropPasses,
)
