"""AlignMerge-B and -O, read literally in float64 NumPy: loops over directions, full m×n matrices, no shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def projection(a: Array, b: Array) -> float:
    """Proj_B(A) = ⟨A, B⟩ / ⟨B, B⟩ (equation 3)."""
    return float(np.sum(a * b) / np.sum(b * b))


def cross_influence(own: Array, other: Array, u: Array, v: Array, ratio: str) -> float:
    """ξ of equation 5 in one direction, with the projectors written out."""
    column, row = np.outer(u, u), np.outer(v, v)
    if ratio == "exact":
        return float((u @ other @ v) / (u @ own @ v))
    first = projection(column @ other, column @ own)
    residual = column @ other - first * column @ own
    second = projection(residual @ row, own @ row)
    return first + second


def full_coefficients(deltas: Sequence[Array], merged: Array, ratio: str) -> Array:
    """ξ̃_i^r of every task and direction (equation 7)."""
    u, s, v = np.linalg.svd(merged, full_matrices=False)
    result = np.zeros((len(deltas), len(s)))
    for r in range(len(s)):
        eta = s[r] / (u[:, r] @ sum(deltas) @ v[r])
        for i, own in enumerate(deltas):
            others = (d for j, d in enumerate(deltas) if j != i)
            result[i, r] = eta * (1 + sum(cross_influence(own, d, u[:, r], v[r], ratio) for d in others))
    return result


def balanced(merged: Array, deltas: Sequence[Array], alpha: float, task: int, ratio: str) -> Array:
    """Equation 9; task 0 takes the mean over the tasks."""
    u, s, v = np.linalg.svd(merged, full_matrices=False)
    coefficients = full_coefficients(deltas, merged, ratio)
    chosen = coefficients.mean(0) if task == 0 else coefficients[task - 1]
    result = np.zeros_like(merged)
    for r, xi in enumerate(chosen):
        divisor = np.inf if xi <= 0 else xi if xi >= alpha else 1.0
        result += s[r] / divisor * np.outer(u[:, r], v[r])
    return result


def partial_polar(matrix: Array) -> Array:
    """P Qᵀ over the singular values that are not 0: the stacks of algorithm 1 are singular by construction."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    kept = values > 1e-5 * values[0]
    return left[:, kept] @ right[kept]


def orthogonalised(deltas: Sequence[Array]) -> Array:
    """Algorithm 1 with leading pairs turned towards the first task's, and without the null space of the stacks."""
    tasks = len(deltas)
    count = (min(deltas[0].shape) - 1) // tasks
    svds = [np.linalg.svd(delta, full_matrices=False) for delta in deltas]
    first_u, first_v = svds[0][0][:, 0], svds[0][2][0]
    tops = []
    for u, s, v in svds:
        sign = -1.0 if u[:, 0] @ first_u + v[0] @ first_v < 0 else 1.0
        tops.append((sign * u[:, 0], s[0], sign * v[0]))
    u_top, v_top = sum(u for u, _, _ in tops), sum(v for _, _, v in tops)
    u_top, v_top = u_top / np.linalg.norm(u_top), v_top / np.linalg.norm(v_top)
    s_top = np.mean([s for _, s, _ in tops])
    m_top = s_top * np.outer(u_top, v_top)
    lefts, values, rights = [u_top[:, None]], [s_top], [v_top[None]]
    for u, s, v in tops:
        own = s * np.outer(u, v)
        ru, rs, rv = np.linalg.svd(own - projection(own, m_top) * m_top)
        lefts.append(ru[:, :1])
        values.append(rs[0])
        rights.append(rv[:1])
    for u, s, v in svds:
        lefts.append(u[:, 1:count])
        values.extend(s[1:count])
        rights.append(v[1:count])
    left, right = partial_polar(np.concatenate(lefts, 1)), partial_polar(np.concatenate(rights))
    sigma = np.array(values)
    eta = np.array([sigma[r] / (left[:, r] @ sum(deltas) @ right[r]) for r in range(len(sigma))])
    merged = sum(sigma[r] / eta[r] * np.outer(left[:, r], right[r]) for r in range(len(sigma)))
    return merged * np.sqrt(np.sum(sigma**2)) / np.linalg.norm(merged)
