"""Spherical linear interpolation of two models."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.context import TensorContext
from analysis.merge.method import MergeMethod, always
from analysis.merge.parameter import Parameter

T = Parameter("t", "number", 0.5, "position between the first model (0) and the second (1)", 0.0, 1.0)
_NO_BASE = "slerp acts on whole weights: the base weight is needed"
PARALLEL = 0.9995
"""Cosine above which an arc is as good as its chord (mergekit's value)."""


def slerp(
    task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext, *, t: float | int = 0.5
) -> Float[Tensor, "*shape"]:
    """Compute ``(sin((1−t)θ) W_1 + sin(tθ) W_2) / sin θ − W0``, θ the angle between the whole weights W_1 and W_2.

    Parameters
    ----------
    task_vectors
        τ_1 and τ_2 of one tensor; `MergeMethod.complete` refuses another number.
    context
        Holds the base weight W0, and the `Angle` of the whole tensor.
    t
        Raising it moves from the first model to the second.

    Returns
    -------
    The delta. Where ``|cos θ| > 0.9995``, as in most tensors of fine-tunes of one base, it is the linear
    interpolation. A norm of at most 1e-8 is not divided by.

    Raises
    ------
    OptionsError
        Unless the base weight is known.

    Notes
    -----
    On the device and in the dtype of the task vectors; norms and the cosine in float64. O(n).

    References
    ----------
    Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985; mergekit's ``slerp``.
    """
    if context.base is None:
        raise OptionsError(_NO_BASE)
    assert isinstance(context.found, Angle), "slerp needs a pass over the tensor"
    left, right = context.found.shares(float(t))
    # The shares need not sum to 1, so the base does not drop out of the delta.
    delta = task_vectors[0] * left + task_vectors[1] * right
    return delta.add_(context.base, alpha=left + right - 1.0)


class Angle:
    """One pass over a tensor for the angle between two whole weights, in float64."""

    def __init__(self) -> None:
        self._sums: list[tuple[float, float, float]] = []
        self.done = False
        """Whether every part was seen."""

    def see(self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext) -> None:
        """Add the next part's squares and products."""
        if context.base is None:
            raise OptionsError(_NO_BASE)
        one, two = ((context.base + vector).double() for vector in task_vectors)
        self._sums.append((float(one @ one), float(two @ two), float(one @ two)))

    def end_pass(self) -> None:
        """All parts were seen."""
        self.done = True

    def shares(self, t: float) -> tuple[float, float]:
        """Shares of the two weights at position t."""
        first, second, cosine = (math.fsum(column) for column in zip(*self._sums, strict=True))
        for norm in (math.sqrt(first), math.sqrt(second)):
            cosine /= norm if norm > 1e-8 else 1.0
        if abs(cosine) > PARALLEL:
            return 1.0 - t, t
        angle = math.acos(cosine)
        return math.sin((1.0 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def _angle(complete: Mapping[str, Any], tasks: int, dtype: torch.dtype) -> Angle:
    del complete, tasks, dtype
    return Angle()


SLERP = MergeMethod(
    name="slerp",
    function=slerp,
    parameters=(T,),
    summary="spherical interpolation of two whole models",
    source="Shoemake 1985; mergekit",
    variants={"mergekit": {}},
    models=2,
    by_entry=always,
    prepare_tensor=_angle,
)
