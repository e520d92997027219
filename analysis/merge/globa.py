"""GLOBA merging: the parts of an analysis, each with its own coefficient."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.overlap import OVERLAP_TYPES, overlap_types_by_rows

PATTERNS = ("C1", *(kind.label for kind in OVERLAP_TYPES))


def weighted_core(
    pruned: Sequence[Float[Tensor, "rows cols"]], anchor: int, coefficients: Mapping[str, float]
) -> Float[Tensor, "rows cols"]:
    """Compute ``α_{C1} C̃_1 + Σ_t α_t C̃_2|_t``, over every task but the anchor.

    Parameters
    ----------
    pruned
        C̃_i of every task.
    anchor
        Index of the task that plays C̃_1.
    coefficients
        One number per pattern of `PATTERNS`; 0 leaves a pattern out.

    Raises
    ------
    OptionsError
        If a pattern is unknown or has no coefficient.

    References
    ----------
    GLOBA, equations 18–20, in the reading of the authors' code: C̃_1 has a coefficient of its own.
    """
    cores = list(pruned)
    cores[anchor] = cores[anchor].clone()
    return weigh_in_place(cores, anchor, coefficients)


def weigh_in_place(
    pruned: Sequence[Float[Tensor, "rows cols"]], anchor: int, coefficients: Mapping[str, float]
) -> Float[Tensor, "rows cols"]:
    """Compute `weighted_core` in the memory of the anchor's matrix, which it overwrites."""
    if set(coefficients) != set(PATTERNS):
        msg = f"coefficients for {sorted(coefficients)}; give one for each of {', '.join(PATTERNS)}"
        raise OptionsError(msg)
    result = pruned[anchor]
    scales = torch.tensor(
        [0.0, *(coefficients[kind.label] for kind in OVERLAP_TYPES)], dtype=result.dtype, device=result.device
    )
    others = [core for task, core in enumerate(pruned) if task != anchor]
    if not others:
        return result.mul_(coefficients["C1"])
    # The types of some rows are all known before these rows are overwritten.
    for found in zip(*(overlap_types_by_rows(result, core) for core in others), strict=True):
        rows = found[0][0]
        result[rows] *= coefficients["C1"]
        for core, (_, types) in zip(others, found, strict=True):
            result[rows] += scales[types.long()] * core[rows]
    return result


def merged_delta(
    left: Float[Tensor, "out left_rank"],
    core: Float[Tensor, "left_rank right_rank"],
    right: Float[Tensor, "inp right_rank"],
) -> Float[Tensor, "out inp"]:
    """Compute ``τ_merged = U_g C̃_merged V_gᵀ``, in the dtype of the bases.

    In the order that takes fewer operations: ``r_l r_r n + m r_l n`` or ``m r_l r_r + m r_r n``.

    References
    ----------
    GLOBA, equation 21.
    """
    core = core.to(left.dtype)
    (out, left_rank), (inp, right_rank) = left.shape, right.shape
    if left_rank * inp * (right_rank + out) <= out * right_rank * (left_rank + inp):
        return left @ (core @ right.mT)
    return (left @ core) @ right.mT
