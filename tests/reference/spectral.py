"""TSV-M, Iso-C and Iso-CTS, read literally in float64 NumPy from PEERS §4.6–4.8, without any cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def polar(matrix: Array) -> Array:
    """P Qᵀ of P D Qᵀ."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def tsv_m(deltas: Sequence[Array], scale: float = 1.0) -> Array:
    """Zero matrices of the full width are filled slot by slot, as in the official code."""
    rows, cols = deltas[0].shape
    full = min(rows, cols)
    count = int(full * (1 / len(deltas)))
    left, values, right = np.zeros((rows, full)), np.zeros(full), np.zeros((full, cols))
    for task, delta in enumerate(deltas):
        u, s, v = np.linalg.svd(delta, full_matrices=False)
        slot = slice(task * count, (task + 1) * count)
        left[:, slot], values[slot], right[slot] = u[:, :count], s[:count], v[:count]
    return scale * polar(left) @ np.diag(values) @ polar(right)


def iso_c(deltas: Sequence[Array], scale: float = 1.0) -> Array:
    """All singular values of the sum become their mean."""
    u, s, v = np.linalg.svd(sum(deltas), full_matrices=False)
    return scale * s.mean() * u @ v


def iso_cts(deltas: Sequence[Array], fraction: float = 0.8, scale: float = 1.0) -> Array:
    """Common directions of the sum, then each task's own outside their left space."""
    full = min(deltas[0].shape)
    tasks = len(deltas)
    own = round((full - int(full * fraction)) / tasks) * tasks
    common = full - own
    u, s, v = np.linalg.svd(sum(deltas), full_matrices=False)
    lefts, values, rights = [], [], []
    for delta in deltas:
        outside = delta - u[:, :common] @ u[:, :common].T @ delta
        uo, so, vo = np.linalg.svd(outside, full_matrices=False)
        lefts.append(uo[:, : own // tasks])
        values.append(so[: own // tasks])
        rights.append(vo[: own // tasks])
    left = np.concatenate([*lefts, u[:, :common]], 1)
    right = np.concatenate([*rights, v[:common]], 0)
    mean = np.concatenate([*values, s[:common]]).mean()
    return scale * mean * polar(left) @ polar(right)
