"""TIES and DARE, read literally in float64 NumPy: the paper's notebook, mergekit and PEFT.

The notebook works on one flat vector per model; the other two on one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def notebook_trim(flat: Array, keep: float) -> Array:
    """Keep what is at least the (d − int(d K))-th smallest magnitude, counted from 1."""
    entries = len(flat)
    rank = entries - int(entries * keep)
    if rank == 0:
        return flat
    threshold = np.sort(np.abs(flat))[rank - 1]
    return np.where(np.abs(flat) >= threshold, flat, 0.0)


def notebook_signs(vectors: Array) -> Array:
    """Sign of the sum; a sum of 0 takes the sign of the sum of all signs."""
    signs = np.sign(vectors.sum(0))
    majority = np.sign(signs.sum())
    return np.where(signs == 0, majority, signs)


def notebook(flat: Sequence[Array], keep: float | Sequence[float], scale: float = 1.0) -> Array:
    """The whole method on flattened task vectors (``dis-mean``)."""
    shares = [keep] * len(flat) if isinstance(keep, float) else keep
    vectors = np.stack([notebook_trim(one, share) for one, share in zip(flat, shares, strict=True)])
    signs = notebook_signs(vectors)
    chosen = np.where(np.where(signs > 0, vectors > 0, vectors < 0), vectors, 0.0)
    return scale * chosen.sum(0) / np.maximum((chosen != 0).sum(0), 1)


def exact_trim(tensor: Array, density: float) -> Array:
    """mergekit's and PEFT's trim: int(density n) entries of each tensor."""
    if density >= 1:
        return tensor
    flat = tensor.reshape(-1)
    order = np.argsort(-np.abs(flat), kind="stable")
    kept = np.zeros_like(flat)
    chosen = order[: int(density * len(flat))]
    kept[chosen] = flat[chosen]
    return kept.reshape(tensor.shape)


def mergekit_consensus(deltas: Sequence[Array], weights: Sequence[float], normalize: bool, scale: float) -> Array:
    """Weighted signs, ≥ 0 counts as +; divided by the weights that agree (0 becomes 1) when normalizing."""
    column = np.reshape(weights, (-1, *[1] * deltas[0].ndim))
    weighted = np.stack(deltas) * column
    majority = np.where(weighted.sum(0) >= 0, 1.0, -1.0)
    mask = np.sign(weighted) == majority
    mixed = (weighted * mask).sum(0)
    if normalize:
        divisor = (column * mask).sum(0)
        mixed = mixed / np.where(divisor == 0, 1.0, divisor)
    return scale * mixed


def mergekit_ties(
    deltas: Sequence[Array], weights: Sequence[float], densities: Sequence[float], scale: float = 1.0
) -> Array:
    """mergekit's ``ties`` with its default ``normalize: true``."""
    trimmed = [exact_trim(delta, density) for delta, density in zip(deltas, densities, strict=True)]
    return mergekit_consensus(trimmed, weights, True, scale)


def peft_ties(deltas: Sequence[Array], weights: Sequence[float], density: float, method: str = "total") -> Array:
    """PEFT's ``ties``: unweighted or counted signs, weighted values over the number that agree."""
    return peft_disjoint([exact_trim(delta, density) for delta in deltas], weights, method)


def peft_disjoint(pruned: Sequence[Array], weights: Sequence[float], method: str = "total") -> Array:
    """PEFT's last two steps, which its ``dare_ties`` shares."""
    stacked = np.stack(pruned)
    votes = stacked.sum(0) if method == "total" else np.sign(stacked).sum(0)
    mask = np.sign(stacked) == np.where(votes >= 0, 1.0, -1.0)
    values = stacked * np.reshape(weights, (-1, *[1] * stacked[0].ndim))
    return (values * mask).sum(0) / np.clip(mask.sum(0), 1, None)


def mergekit_rescaled(delta: Array, mask: NDArray[np.bool_]) -> Array:
    """A random mask with mergekit's rescaling to the L1 norm of the tensor."""
    masked = delta * mask
    return masked * (np.abs(delta).sum() / np.abs(masked).sum())


def paper_rescaled(delta: Array, mask: NDArray[np.bool_], drop_rate: float) -> Array:
    """DARE's equation: (m ⊙ δ) / (1 − p)."""
    return delta * mask / (1 - drop_rate)
