"""Spherical linear interpolation of two models."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.method import MergeMethod, Parameter, TensorContext

T = Parameter("t", "number", 0.5, "position between the first model (0) and the second (1)", 0.0, 1.0)
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
        Holds the base weight W0.
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
        msg = "slerp acts on whole weights: the base weight is needed"
        raise OptionsError(msg)
    first, second = (context.base + vector for vector in task_vectors)
    norms = [float(torch.linalg.vector_norm(weight, dtype=torch.float64)) for weight in (first, second)]
    cosine = _dot(first, second)
    for norm in norms:
        cosine /= norm if norm > 1e-8 else 1.0
    left, right = _shares(cosine, float(t))
    # The shares need not sum to 1, so the base does not drop out of the delta.
    delta = task_vectors[0] * left + task_vectors[1] * right
    return delta.add_(context.base, alpha=left + right - 1.0)


def _dot(first: Tensor, second: Tensor, chunk: int = 1 << 22) -> float:
    """The inner product, summed in float64."""
    parts = zip(torch.split(first.reshape(-1), chunk), torch.split(second.reshape(-1), chunk), strict=True)
    return math.fsum(float(torch.dot(one.double(), two.double())) for one, two in parts)


def _shares(cosine: float, t: float) -> tuple[float, float]:
    """Shares of the two weights."""
    if abs(cosine) > PARALLEL:
        return 1.0 - t, t
    angle = math.acos(cosine)
    return math.sin((1.0 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


SLERP = MergeMethod(
    name="slerp",
    function=slerp,
    parameters=(T,),
    summary="spherical interpolation of two whole models",
    source="Shoemake 1985; mergekit",
    variants={"mergekit": {}},
    models=2,
)
