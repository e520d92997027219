"""The anchored basis: one task's singular vectors, then what the others add outside them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.basis.angles import cross_product
from analysis.basis.side import SideBasis, positive_signs
from analysis.spectrum import numerical_rank


def anchored_basis(
    bases: Sequence[Float[Tensor, "dim _"]], singular_values: Sequence[Float[Tensor, " _"]], anchor: int
) -> SideBasis:
    """Compute ``[U_a, orth((I − U_a U_aᵀ) [U_i Σ_i]_{i≠a})]`` for the anchor task a.

    In this basis C̃_a is diagonal and, with η = 1, Type A of another task is exactly its orthogonal component
    ``τ^⊥ = U^⊥ Σ (V^⊥)ᵀ``, so the conflict-free proposition holds exactly. The added directions are the left singular
    vectors of the energy-weighted residual: unique wherever its singular values differ, strongest first.

    Parameters
    ----------
    bases, singular_values
        As for `canonical_basis`.
    anchor
        Index (from 0) of the task whose singular vectors lead.

    Returns
    -------
    The basis. `strengths` are the singular values of the weighted residual after ones for the anchor's columns; no
    direction is ambiguous in the paper's sense, so `clustered` is all false. The basis keeps every direction of the
    residual above rounding: no energy is cut.

    Notes
    -----
    O(dim k_a K + dim K²) for K the rank of the others; one SVD of dim × K in float64.

    References
    ----------
    GLOBA, appendix, equations 1–5.
    """
    lead = bases[anchor]
    residual = torch.cat(
        [_outside(lead, basis) * values.double() for basis, values in _others(bases, singular_values, anchor)], dim=1
    )
    scale = max((float(v.max()) for v in singular_values if v.numel()), default=0.0)
    added, weights = _orthonormal(residual, scale, lead.dtype)
    coordinates = []
    for index, basis in enumerate(bases):
        top = torch.eye(lead.shape[1], dtype=torch.float64, device=lead.device)
        bottom = top.new_zeros(added.shape[1], lead.shape[1])
        if index != anchor:
            top, bottom = cross_product(lead, basis), added.mT @ basis.double()
        coordinates.append(torch.cat([top, bottom]))
    vectors = torch.cat([lead, added.to(lead.dtype)], dim=1)
    strengths = torch.cat([torch.ones(lead.shape[1], dtype=torch.float64, device=lead.device), weights])
    clustered = torch.zeros(vectors.shape[1], dtype=torch.bool, device=lead.device)
    return SideBasis(vectors=vectors, coordinates=tuple(coordinates), strengths=strengths, clustered=clustered)


def _others(
    bases: Sequence[Float[Tensor, "dim _"]], singular_values: Sequence[Float[Tensor, " _"]], anchor: int
) -> list[tuple[Float[Tensor, "dim _"], Float[Tensor, " _"]]]:
    return [pair for i, pair in enumerate(zip(bases, singular_values, strict=True)) if i != anchor]


def _outside(lead: Float[Tensor, "dim k"], basis: Float[Tensor, "dim other"]) -> Float[Tensor, "dim other"]:
    """``(I − U_a U_aᵀ) U_i`` in float64, projected twice so that rounding leaves nothing of U_a."""
    wide, result = lead.double(), basis.double()
    for _ in range(2):
        result = result - wide @ (wide.mT @ result)
    return result


def _orthonormal(
    residual: Float[Tensor, "dim other"], scale: float, dtype: torch.dtype
) -> tuple[Float[Tensor, "dim added"], Float[Tensor, " added"]]:
    """Left singular vectors of the residual that stand above the rounding of `scale` in `dtype`, signs fixed."""
    if residual.numel() == 0 or scale == 0.0:
        return residual[:, :0], residual.new_zeros(0)
    vectors, values, _ = torch.linalg.svd(residual, full_matrices=False)
    reference = torch.cat([values.new_full((1,), scale), values])
    rank = max(numerical_rank(reference, max(residual.shape), dtype) - 1, 0)
    vectors = vectors[:, :rank]
    return vectors * positive_signs(vectors), values[:rank]
