"""Trimming a task vector to its largest entries."""

import torch
from jaxtyping import Float
from torch import Tensor


def trim_above(vector: Float[Tensor, "*shape"], threshold: float) -> Float[Tensor, "*shape"]:
    """Set every entry smaller in magnitude than `threshold` to 0; magnitudes are compared in float32."""
    return torch.where(vector.abs().float() >= threshold, vector, torch.zeros_like(vector))


def trim_to_count(vector: Float[Tensor, "*shape"], density: float) -> Float[Tensor, "*shape"]:
    """Keep exactly ``max(1, ⌊density · n⌋)`` entries of the largest magnitude; of equal ones the first.

    Notes
    -----
    One selection, O(n). mergekit sorts, keeps equal magnitudes in no fixed order, and fails where nothing is kept.
    """
    if density >= 1.0 or vector.numel() == 0:
        return vector
    flat = vector.reshape(-1)
    count = max(1, int(density * flat.numel()))
    magnitude = flat.abs()
    threshold = magnitude.kthvalue(flat.numel() - count + 1).values
    keep = magnitude > threshold
    equal = torch.nonzero(magnitude == threshold).reshape(-1)
    keep[equal[: count - int(keep.sum())]] = True
    return torch.where(keep, flat, torch.zeros_like(flat)).reshape(vector.shape)
