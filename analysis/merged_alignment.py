"""Where a merge over- or undershoots the tasks it was made of: full coefficients and the alignment index."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.cross_influence import (
    DirectionImages,
    cross_influences,
    direction_images,
    images_of_products,
    products_with,
    summed_influences,
)
from analysis.decompose import TruncatedSVD
from analysis.leading import strongest_triplets
from analysis.merge.triplets import Triplets
from analysis.product import Product, truncated_svd_of_product
from analysis.range_finder import STRONG
from analysis.task_vector import frobenius_norm

COUNT = 32
"""Directions that are looked at, as in the paper's figures."""
_NEAR = 48
"""Columns that the search for those of a sum starts from where many are strong: half as many again."""
_FEW = 8
"""The search starts from all strong directions, where they are at most an eighth of what there is room for."""


@dataclass(frozen=True)
class MergedAlignment:
    """A merged task vector ``Δ = Σ_r σ_r u_r v_rᵀ`` against the task vectors τ_i, in its leading directions.

    `values` are σ_r, `share` is the part of ``‖Δ‖_F²`` that they hold. `damped` and `exact` are ξ_{i,j}^r in both
    readings, and `scale` is ``η^r = σ_r/(u_rᵀ Σ_i τ_i v_r)``: 1 for the plain sum, infinite where the tasks cancel.
    """

    values: Float[Tensor, " rank"]
    share: float
    scale: Float[Tensor, " rank"]
    damped: Float[Tensor, "tasks tasks rank"]
    exact: Float[Tensor, "tasks tasks rank"]

    @property
    def coefficients(self) -> Float[Tensor, "tasks rank"]:
        """``ξ̃_i^r = η^r (1 + Σ_{j≠i} ξ_{i,j}^r)``: how many times its own update task i gets in direction r."""
        return self.scale * summed_influences(self.damped)

    @property
    def exact_coefficients(self) -> Float[Tensor, "tasks rank"]:
        """The same by the exact reading of ξ: ``σ_r / (u_rᵀ τ_i v_r)``."""
        return self.scale * summed_influences(self.exact)

    @property
    def signed_index(self) -> Float[Tensor, "tasks rank"]:
        """``ξ̃_i^r − 1``, the SAI with its sign: above 0 the task is amplified, below 0 held back, 0 undisturbed."""
        return self.coefficients - 1.0

    def mean(self, quantity: Float[Tensor, "*rest rank"]) -> Float[Tensor, "*rest"]:
        """Mean over the directions, each weighted with its energy σ_r² in the merge."""
        return quantity @ (self.values.square() / self.values.square().sum())


def merged_alignment(
    merged: Float[Tensor, "rows cols"],
    task_vectors: Iterable[Float[Tensor, "rows cols"] | Product],
    near: Float[Tensor, "cols _"] | None = None,
    count: int = COUNT,
) -> MergedAlignment:
    """Compare a merged task vector, of any method, with those it was made of.

    Parameters
    ----------
    merged
        ``W_merged − W0``.
    task_vectors
        τ_i; they are looked at one after the other, so that a generator need not hold more than one.
    near
        Columns near the leading right singular vectors of `merged`, which save a decomposition.
    count
        Most directions.

    Returns
    -------
    The coefficients in up to `count` leading directions: fewer where `merged` has a lower rank or where values lie so
    close together that their directions are not determined (`strongest_triplets`).

    References
    ----------
    AlignMerge, equations 4, 7 and 8.
    """
    found = strongest_triplets(merged, merged.new_zeros(merged.shape[1], 0) if near is None else near, count)
    images = [direction_images(task_vector, found.left, found.right) for task_vector in task_vectors]
    return alignment_of_images(found, images, frobenius_norm(merged) ** 2)


def sum_alignment(
    total: Float[Tensor, "rows cols"],
    task_vector: Callable[[int], Float[Tensor, "rows cols"] | Product],
    norms: Sequence[float],
    near: Float[Tensor, "cols _"],
    count: int = COUNT,
) -> MergedAlignment:
    """Compare the sum ``Δ = Σ_i τ_i`` with its terms: `merged_alignment` of it at less cost.

    What the longest task vector does follows from what the sum and the others do, ``τᵀu = Δᵀu − Σ_j τ_jᵀu``: it is at
    least Δ/T, so that the difference keeps the precision of its terms.

    Parameters
    ----------
    total
        The sum.
    task_vector
        Gives τ_i; called for all but the longest.
    norms
        ``‖τ_i‖_F``.
    near, count
        See `merged_alignment`.
    """
    found = strongest_triplets(total, near, count)
    longest = max(range(len(norms)), key=lambda task: norms[task])
    outputs, inputs = found.back.clone(), found.left * found.values
    images: list[DirectionImages | None] = [None] * len(norms)
    for task, norm in enumerate(norms):
        if task != longest:
            products = products_with(task_vector(task), found.left, found.right)
            outputs -= products[0]
            inputs -= products[1]
            images[task] = images_of_products(*products, found.right, norm)
    images[longest] = images_of_products(outputs, inputs, found.right, norms[longest])
    energy = frobenius_norm(total) ** 2
    return alignment_of_images(found, [image for image in images if image is not None], energy)


def alignment_of_images(found: Triplets, images: Sequence[DirectionImages], energy: float) -> MergedAlignment:
    """The alignment from the directions of a merge, what every task does in them, and the energy ``‖Δ‖_F²``."""
    along = torch.stack([image.along for image in images]).sum(0)
    return MergedAlignment(
        values=found.values.double(),
        share=float(found.values.double().square().sum()) / energy if energy > 0 else 0.0,
        scale=found.values.double() / along,
        damped=cross_influences(images, "damped"),
        exact=cross_influences(images, "exact"),
    )


def starting_directions(svds: Sequence[TruncatedSVD]) -> Float[Tensor, "cols _"]:
    """Right singular vectors of all tasks near which those of their sum lie: all strong ones where they are few."""
    spaces = [
        svd.right[:, : int((svd.singular_values > STRONG * svd.spectrum[:1]).sum())]
        if svd.beyond is None else torch.cat([svd.right, svd.beyond[1]], dim=1)
        for svd in svds
    ]  # fmt: skip
    if sum(space.shape[1] for space in spaces) > spaces[0].shape[0] // _FEW:
        each = max(_NEAR // len(spaces), 8)
        spaces = [space[:, :each] for space in spaces]
    return torch.cat([space.double() for space in spaces], dim=1)


def alignment_of_products(products: Sequence[Product], count: int = COUNT) -> MergedAlignment:
    """The alignment of the sum of task vectors that are all given by factors, which is never multiplied out.

    The sum is the product of the factors side by side. O((m + n) r²) for r columns in all.
    """
    joined = Product(
        torch.cat([product.left.double() for product in products], dim=1),
        torch.cat([product.right.double() for product in products]),
    )
    svd = truncated_svd_of_product(joined, 1.0, torch.float64)
    found = Triplets(svd.left, svd.singular_values, svd.right).first(count)
    images = [direction_images(product, found.left, found.right) for product in products]
    return alignment_of_images(found, images, svd.total_energy)
