"""Task vectors and their size."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from analysis.errors import AnalysisError, NotFiniteError

_PIECE = 1 << 18
"""Entries of which a norm makes a copy in float64."""


def task_vector(
    fine_tuned: Shaped[Tensor, "*shape"], base: Shaped[Tensor, "*other"], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*shape"]:
    """Compute the task vector ``τ = W_fine_tuned − W0`` of one tensor in `dtype`.

    Both tensors are widened before the subtraction, so the difference of two bf16 tensors is exact in float32
    up to the rounding of one subtraction.

    Parameters
    ----------
    fine_tuned, base
        Weights of equal shape, of any floating dtype.
    dtype
        Working precision: `torch.float32` or `torch.float64`.

    Returns
    -------
    The task vector, a new tensor.

    Raises
    ------
    AnalysisError
        If the shapes differ.
    NotFiniteError
        If either tensor holds NaN or infinity; the message says which and how many entries.

    Notes
    -----
    O(size) time; one copy in `dtype` besides the result.
    """
    if fine_tuned.shape != base.shape:
        msg = f"the fine-tuned tensor has shape {tuple(fine_tuned.shape)}, the base {tuple(base.shape)}"
        raise AnalysisError(msg)
    result = fine_tuned.to(dtype, copy=True).sub_(base.to(dtype))
    if not bool(torch.isfinite(result).all()):
        require_finite(base, "the base")
        require_finite(fine_tuned, "the fine-tuned tensor")
        msg = f"the task vector overflows {dtype}; use precision float64"
        raise NotFiniteError(msg)
    return result


def require_finite(tensor: Shaped[Tensor, "*shape"], what: str) -> None:
    """Raise `NotFiniteError` naming `what` when `tensor` holds NaN or infinity."""
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        msg = f"{what} holds {bad} NaN or infinite entries of {tensor.numel()}"
        raise NotFiniteError(msg)


def frobenius_norm(tensor: Float[Tensor, "*shape"]) -> float:
    """Compute ``‖X‖_F``, accumulated in float64 so that it neither overflows nor loses small entries.

    Piece by piece, or row by row where rows are longer: of what is accumulated in another dtype torch makes a copy,
    twice as large as X in float32.
    """
    # In the order in which the entries lie: what is cut is a view.
    ordered = tensor.squeeze()
    strides = ordered.stride()
    ordered = ordered.permute(sorted(range(ordered.ndim), key=lambda axis: -strides[axis]))
    if ordered.is_contiguous():
        pieces = torch.split(ordered.view(-1), _PIECE)
    else:
        pieces = torch.split(ordered, max(1, _PIECE * ordered.shape[0] // ordered.numel()))
    norms = [torch.linalg.vector_norm(piece, dtype=torch.float64) for piece in pieces]
    return float(norms[0] if len(norms) == 1 else torch.stack(norms).norm())
