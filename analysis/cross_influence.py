"""How much every task's update pushes another's in the directions of a merge (AlignMerge, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.product import Product
from analysis.task_vector import frobenius_norm

Ratio = Literal["damped", "exact"]

_VANISHING = 1e-10
"""Share of ‖τ_i‖ below which a task does not act on a direction."""


@dataclass(frozen=True)
class DirectionImages:
    """What a task vector does along the directions ``u_r, v_r`` of a merge.

    `outputs` holds ``a^r = τᵀ u_r`` as columns, `inputs` the norms of ``b^r = τ v_r``, `along` the products
    ``u_rᵀ τ v_r``, all in float64; `size` is ``‖τ‖_F``.
    """

    outputs: Float[Tensor, "cols rank"]
    inputs: Float[Tensor, " rank"]
    along: Float[Tensor, " rank"]
    size: float


def direction_images(
    task_vector: Float[Tensor, "rows cols"] | Product,
    left: Float[Tensor, "rows rank"],
    right: Float[Tensor, "cols rank"],
) -> DirectionImages:
    """Apply a task vector to the directions of a merge: two products of 2 m n k in its dtype, less from factors."""
    outputs, inputs = products_with(task_vector, left, right)
    size = task_vector.norm if isinstance(task_vector, Product) else frobenius_norm(task_vector)
    return images_of_products(outputs, inputs, right, size)


def products_with(
    task_vector: Float[Tensor, "rows cols"] | Product,
    left: Float[Tensor, "rows rank"],
    right: Float[Tensor, "cols rank"],
) -> tuple[Float[Tensor, "cols rank"], Float[Tensor, "rows rank"]]:
    """``τᵀ u_r`` and ``τ v_r`` as columns, in float64."""
    if isinstance(task_vector, Product):
        first, second = task_vector.left.double(), task_vector.right.double()
        return second.mT @ (first.mT @ left.double()), first @ (second @ right.double())
    outputs = task_vector.mT @ left.to(task_vector.dtype)
    return outputs.double(), (task_vector @ right.to(task_vector.dtype)).double()


def images_of_products(
    outputs: Float[Tensor, "cols rank"],
    inputs: Float[Tensor, "rows rank"],
    right: Float[Tensor, "cols rank"],
    size: float,
) -> DirectionImages:
    """What a task vector of norm `size` does along directions, from ``τᵀ u_r`` and ``τ v_r``."""
    return DirectionImages(outputs, inputs.norm(dim=0), (outputs * right.double()).sum(0), size)


def cross_influences(images: Sequence[DirectionImages], ratio: Ratio) -> Float[Tensor, "tasks tasks rank"]:
    """Compute ``ξ_{i,j}^r``, what task j adds along direction r in units of what task i has there.

    ``ξ_{i,j} = α_1 + α_2`` with ``α_1 = a_i·a_j/‖a_i‖²`` and ``α_2 = ((a_j − α_1 a_i)·v_r)(a_i·v_r)/‖b_i‖²``
    (``damped``), or ``ξ_{i,j} = a_j·v_r/(a_i·v_r)`` (``exact``).

    Parameters
    ----------
    images
        Of every task.
    ratio
        ``exact`` reads the second projection as made on both sides; it leaves no noise term.

    Returns
    -------
    The matrix, in float64: positive where j pushes the way i does, negative against it, 1 for i = j. A quotient whose
    divisor vanishes is 0: that task does not act on the direction.

    References
    ----------
    AlignMerge, proposition 1, equations 5 and 6, and appendix B.2.
    """
    rows = []
    for own in images:
        floor = _VANISHING * own.size
        if ratio == "exact":
            rows.append(torch.stack([_quotient(other.along, own.along, floor) for other in images]))
            continue
        square = own.outputs.square().sum(0)
        row = []
        for other in images:
            first = _quotient((own.outputs * other.outputs).sum(0), square, floor**2)
            rest = (other.along - first * own.along) * own.along
            row.append(first + _quotient(rest, own.inputs.square(), floor**2))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def summed_influences(influences: Float[Tensor, "tasks tasks rank"]) -> Float[Tensor, "tasks rank"]:
    """Compute ``1 + Σ_{j≠i} ξ_{i,j}^r``, which times η^r is the full coefficient ξ̃ (AlignMerge, equation 7)."""
    return 1.0 + influences.sum(1) - influences.diagonal().mT


def _quotient(above: Tensor, below: Tensor, floor: float) -> Tensor:
    fine = below.abs() > floor
    return torch.where(fine, above / torch.where(fine, below, torch.ones_like(below)), torch.zeros_like(above))
