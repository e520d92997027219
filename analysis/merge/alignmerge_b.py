"""AlignMerge-B: after any method, damp the directions that several tasks push together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.cross_influence import Ratio, cross_influences, images_of_products, products_with, summed_influences
from analysis.errors import OptionsError
from analysis.merge.context import Preparation, Role, TensorContext, TensorPasses
from analysis.merge.method import MergeMethod
from analysis.merge.parameter import Parameter
from analysis.merge.triplets import (
    DIRECTIONS,
    RANK_CUT,
    RANK_TOLERANCE,
    Triplets,
    along,
    cut_tolerance,
    leading_triplets,
    recomposed,
)
from analysis.merge.weights import task_weights
from analysis.task_vector import frobenius_norm

PUBLISHED_ALPHA = {2: 0.6, 8: 1.8, 14: 2.8, 20: 6.5}
"""α by the number of models; in between and beyond, T/4."""


def default_alpha(tasks: int) -> float:
    """The published threshold for this number of models, else a quarter of it."""
    return PUBLISHED_ALPHA.get(tasks, tasks / 4.0)


def full_coefficients(
    task_vectors: Sequence[Float[Tensor, "rows cols"]],
    left: Float[Tensor, "rows rank"],
    right: Float[Tensor, "cols rank"],
    ratio: Ratio,
) -> Float[Tensor, "tasks rank"]:
    """Compute ``1 + Σ_{j≠i} ξ_{i,j}^r`` for every task and direction of a merge, in float64.

    Parameters
    ----------
    task_vectors
        τ_i.
    left, right
        u_r and v_r as columns.
    ratio
        See `cross_influences`.

    Notes
    -----
    ``T m n k`` for the products with the directions; a few hundred directions at a time, memory T n of each.

    References
    ----------
    AlignMerge, proposition 1, equations 5–7 and appendix B.2.
    """
    sizes = [frobenius_norm(tau) for tau in task_vectors]
    parts = []
    for some, others in zip(torch.split(left, DIRECTIONS, 1), torch.split(right, DIRECTIONS, 1), strict=True):
        images = [
            images_of_products(*products_with(tau, some, others), others, size)
            for tau, size in zip(task_vectors, sizes, strict=True)
        ]
        parts.append(summed_influences(cross_influences(images, ratio)))
    return torch.cat(parts, 1)


def balanced(
    merged: Float[Tensor, "rows cols"],
    task_vectors: Sequence[Float[Tensor, "rows cols"]],
    alpha: float,
    task: int,
    ratio: Ratio,
    tolerance: float | None,
) -> Float[Tensor, "rows cols"]:
    """Compute ``Σ_r σ_r/d(ξ̃^r) u_r v_rᵀ`` from the merged task vector ``Σ_r σ_r u_r v_rᵀ``.

    ``ξ̃_i^r = η^r (1 + Σ_{j≠i} ξ_{i,j}^r)`` with ``η^r = σ_r/(u_rᵀ Σ_i τ_i v_r)``; d is ξ̃ where ``ξ̃ ≥ α``, 1 where
    ``0 < ξ̃ < α``, and a direction with ``ξ̃ ≤ 0`` is dropped.

    Parameters
    ----------
    merged
        Result of any method.
    task_vectors
        τ_i.
    alpha
        Raising it damps fewer directions.
    task
        Number from 1 of the task to favour; 0 takes the mean of ξ̃ over all.
    ratio, tolerance
        See `full_coefficients` and `leading_triplets`.

    References
    ----------
    AlignMerge, equations 4, 7 and 9.
    """
    found = leading_triplets(merged, min(merged.shape), tolerance)
    if not found.rank:
        return merged
    coefficients = full_coefficients(task_vectors, found.left, found.right, ratio)
    chosen = coefficients.mean(0) if task == 0 else coefficients[task - 1]
    strengths = _along(task_vectors, found)
    # ξ̃ = σ chosen/strengths and σ/ξ̃ = strengths/chosen: nothing is divided by an η that may vanish.
    same_side = (strengths * chosen) > 0
    strong = found.values * chosen.abs() >= alpha * strengths.abs()
    damped = torch.where(same_side, strengths / torch.where(same_side, chosen, torch.ones_like(chosen)), 0.0)
    return recomposed(found.left, torch.where(same_side & ~strong, found.values, damped), found.right)


def _along(task_vectors: Sequence[Float[Tensor, "rows cols"]], found: Triplets) -> Float[Tensor, " rank"]:
    """``u_rᵀ Σ_i τ_i v_r`` in float64."""
    total = task_vectors[0].clone()
    for tau in task_vectors[1:]:
        total.add_(tau)
    return along(total, found.left, found.right)


BASE_METHOD = Parameter("base_method", "word", "task_arithmetic", "method that merges first; its parameters are taken")
OWN = (
    Parameter("alpha", "number", "auto", "threshold α; auto: 0.6 for 2 models, else T/4", 0.0, words=("auto",)),
    Parameter("task", "integer", 0, "number of the task to favour, from 1; 0 for all", 0.0),
    Parameter("ratio", "word", "damped", "reading of the cross-influence ξ", words=("damped", "exact")),
    Parameter("align_embeddings", "flag", False, "treat embeddings and lm_head like matrices"),
    RANK_CUT,
    RANK_TOLERANCE,
)


@dataclass(frozen=True)
class AlignMergeB(MergeMethod):
    """AlignMerge-B on top of one of `bases`, whose parameters it takes too."""

    bases: Mapping[str, MergeMethod] = field(default_factory=dict)

    def known(self, given: Mapping[str, Any]) -> dict[str, Parameter]:
        """Its own parameters and those of the base method; of one name, they have one value."""
        own = {parameter.name: parameter for parameter in (*OWN, self._base_method())}
        return self._base(given).known(given) | own

    def complete(self, given: Mapping[str, Any], tasks: int | None = None) -> dict[str, Any]:
        """As for any method; a `variant` is the base method's, and so is a default that both have."""
        base = self._base(given)
        own = {parameter.name for parameter in (*OWN, self._base_method())}
        unknown = sorted(set(given) - own - set(base.known(given)) - ({"variant"} if base.variants else set()))
        if unknown:
            names: list[str] = sorted(own.union(base.known(given), ["variant"] if base.variants else []))
            msg = f"method {self.name} on {base.name} has no parameter {unknown[0]!r}; it knows {', '.join(names)}"
            raise OptionsError(msg)
        shared = {name: value for name, value in given.items() if name in base.known(given) or name == "variant"}
        mine = {parameter.name: parameter for parameter in (*OWN, self._base_method())}
        below = base.complete(shared, tasks)
        values = {name: one.read(given.get(name, below.get(name, one.default))) for name, one in mine.items()}
        if tasks is not None and values["task"] > tasks:
            msg = f"task is {values['task']}: there are {tasks} fine-tunes; 0 means all"
            raise OptionsError(msg)
        return below | values

    def passes(self, complete: Sequence[Mapping[str, Any]], tasks: int) -> Preparation | None:
        """The first passes of the base method, where all tensors have the same one."""
        names = {one["base_method"] for one in complete}
        bases = [self.bases[name] for name in sorted(names)]
        if len(bases) == 1:
            return bases[0].passes([self._of_base(one) for one in complete], tasks)
        if any(base.prepare is not None for base in bases):
            msg = f"base_method is {', '.join(sorted(names))} in one merge: those that look at the whole model need one"
            raise OptionsError(msg)
        return None

    def tensor_passes(self, complete: Mapping[str, Any], tasks: int, dtype: torch.dtype) -> TensorPasses | None:
        """Those of the base method."""
        return self.bases[complete["base_method"]].tensor_passes(self._of_base(complete), tasks, dtype)

    def run(
        self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext, complete: Mapping[str, Any]
    ) -> Float[Tensor, "*shape"]:
        """Merge by the base method, then balance what is a matrix."""
        base = self.bases[complete["base_method"]]
        merged = base.run(task_vectors, context, self._of_base(complete))
        matrix = context.role == "matrix" or (context.role == "embedding" and complete["align_embeddings"])
        if merged.ndim != 2 or merged.numel() == 0 or not matrix:
            return merged
        weights = task_weights(complete.get("weight", ()), len(task_vectors), 1.0)
        numbers = [number for number, weight in enumerate(weights) if weight != 0.0]
        if not numbers:
            return merged
        task = complete["task"]
        if task and task - 1 not in numbers:
            msg = f"task is {task}, whose weight is 0; favour another"
            raise OptionsError(msg)
        return balanced(
            merged,
            [task_vectors[number] for number in numbers],
            default_alpha(len(numbers)) if complete["alpha"] == "auto" else complete["alpha"],
            numbers.index(task - 1) + 1 if task else 0,
            complete["ratio"],
            cut_tolerance(complete["rank_cut"], complete["rank_tolerance"]),
        )

    def _base(self, given: Mapping[str, Any]) -> MergeMethod:
        return self.bases[self._base_method().read(given.get("base_method", BASE_METHOD.default))]

    def _base_method(self) -> Parameter:
        return Parameter(BASE_METHOD.name, "word", BASE_METHOD.default, BASE_METHOD.summary, words=tuple(self.bases))

    def _of_base(self, complete: Mapping[str, Any]) -> dict[str, Any]:
        known = self.bases[complete["base_method"]].known(complete)
        return {name: value for name, value in complete.items() if name in known}


def alignmerge_b(bases: Mapping[str, MergeMethod]) -> AlignMergeB:
    """The method on top of any of `bases`."""

    def by_entry(role: Role, complete: Mapping[str, Any]) -> bool:
        balanced = role == "matrix" or (role == "embedding" and complete["align_embeddings"])
        return not balanced and bases[complete["base_method"]].by_entry(role, complete)

    return AlignMergeB(
        name="alignmerge_b",
        function=balanced,
        parameters=(*OWN, BASE_METHOD),
        summary="any method, then directions that several tasks push together are damped",
        source="AlignMerge, equation 9",
        bases=bases,
        by_entry=by_entry,
    )
