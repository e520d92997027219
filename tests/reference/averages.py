"""Averages, sums and SLERP of whole models, read literally in float64 NumPy. Task vectors of whole models are lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def weight_average(models: Sequence[Array], weights: Sequence[float]) -> Array:
    """mergekit's ``linear`` with ``normalize``: Σ w θ / Σ w."""
    return sum(w * model for w, model in zip(weights, models, strict=True)) / sum(weights)


def task_arithmetic(base: Array, models: Sequence[Array], weights: Sequence[float], scale: float) -> Array:
    """θ0 + λ Σ w (θ − θ0)."""
    return base + scale * sum(w * (model - base) for w, model in zip(weights, models, strict=True))


def slerp(first: Array, second: Array, t: float) -> Array:
    """mergekit's ``slerp`` of two whole weights."""
    one, two = (v / np.linalg.norm(v) if np.linalg.norm(v) > 1e-8 else v for v in (first, second))
    dot = np.sum(one * two)
    if abs(dot) > 0.9995:
        return (1 - t) * first + t * second
    theta = np.arccos(dot)
    return np.sin((1 - t) * theta) / np.sin(theta) * first + np.sin(t * theta) / np.sin(theta) * second
