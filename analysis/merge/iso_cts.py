"""Iso-CTS: an isotropic common space and isotropic task-specific spaces (Marczak et al., 2025)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext
from analysis.merge.parameter import Parameter
from analysis.merge.triplets import (
    Triplets,
    cut_tolerance,
    decomposing,
    is_decomposed,
    leading_triplets,
    orthogonalised,
    recomposed,
    scaled_mean,
    stacked,
    weighted,
)
from analysis.task_vector import frobenius_norm

COMMON = Parameter("common_space_fraction", "number", 0.8, "share of the dimensions that all tasks share", 0.0, 1.0)


def iso_cts(
    task_vectors: Sequence[Float[Tensor, "*shape"]],
    context: TensorContext,
    *,
    weight: float | int | Sequence[float | int] = (),
    scale: float | int = 1.0,
    common_space_fraction: float = 0.8,
    embeddings: str = "average",
    rank_cut: bool = True,
    rank_tolerance: float = 1e-5,
) -> Float[Tensor, "*shape"]:
    """Compute ``α σ̄ U⊥ V⊥ᵀ``: common directions of the sum, and each task's own outside them, all alike in strength.

    Parameters
    ----------
    task_vectors, context, weight, scale, embeddings
        As in `tsv_m`.
    common_space_fraction
        Raising it leaves fewer directions to single tasks.
    rank_cut, rank_tolerance
        See `leading_triplets`; what a task has outside the common space is measured against the norm of its τ.

    Notes
    -----
    With r = min(m, n): ``s = round((r − ⌊f r⌋)/T) T`` directions for the tasks (Python's rounding, but never more than
    there are), ``c = r − s`` common ones. Only the left space is projected out: ``τ_i − U_c U_cᵀ τ_i``. Tasks come
    before the common space.
    About ``9 (T + 3) r³``.

    References
    ----------
    Marczak et al., ICML 2025, section 4.2, algorithm 2.
    """
    taus = weighted(task_vectors, weight)
    if not is_decomposed(task_vectors[0], context, embeddings) or not taus:
        return scaled_mean(taus, task_vectors[0], float(scale))
    tolerance = cut_tolerance(rank_cut, rank_tolerance)
    chosen = _directions(taus, common_space_fraction, tolerance)
    if not chosen.rank:
        return torch.zeros_like(taus[0])
    left, values, right = chosen.left, chosen.values, chosen.right
    del chosen
    left = orthogonalised(left, tolerance)
    right = orthogonalised(right, tolerance)
    return recomposed(left, values.mean().expand(values.shape[0]) * float(scale), right)


def _directions(
    taus: Sequence[Float[Tensor, "rows cols"]], common_space_fraction: float, tolerance: float | None
) -> Triplets:
    """What each task has outside of the common space, then the common space."""
    full = min(taus[0].shape)
    own = min(round((full - int(full * common_space_fraction)) / len(taus)), full // len(taus))
    total = scaled_mean(taus, taus[0], float(len(taus)))
    common = leading_triplets(total, full - own * len(taus), tolerance)
    del total
    return stacked([*(_outside(tau, common.left, own, tolerance) for tau in taus), common])


def _outside(
    task_vector: Float[Tensor, "rows cols"], common: Float[Tensor, "rows shared"], count: int, tolerance: float | None
) -> Triplets:
    """The leading triplets of ``τ − U_c U_cᵀ τ``, cut relative to ``‖τ‖_F``."""
    outside = torch.addmm(task_vector, common, common.mT @ task_vector, alpha=-1.0)
    return leading_triplets(outside, count, tolerance, scale=frobenius_norm(task_vector))


ISO_CTS = decomposing(
    "iso_cts",
    iso_cts,
    (COMMON,),
    summary="isotropic common space and isotropic spaces of single tasks",
    source="Marczak et al., ICML 2025 and its code",
)
