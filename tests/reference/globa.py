"""A literal float64 NumPy reading of METHODS: slow, plain, and independent of the package.

Every step follows the paper's text: full SVDs of the task vectors, an SVD of the concatenated singular vectors, a full
sort for pruning, and the set definitions of the appendix for the types.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Matrix = np.ndarray


@dataclass
class Reference:
    truncated: list[Matrix]
    ranks: list[int]
    left: Matrix
    right: Matrix
    cores: list[Matrix]
    pruned: list[Matrix]
    parts: dict[str, Matrix]

    def delta(self, pattern: str) -> Matrix:
        return self.left @ self.parts[pattern] @ self.right.T


def truncate(tau: Matrix, energy: float) -> tuple[Matrix, Matrix, Matrix]:
    """The authors' rule: as many triplets as have a cumulative energy of at most the threshold, at least one."""
    u, s, vt = np.linalg.svd(tau, full_matrices=False)
    if energy >= 1:
        k = int(np.sum(s > s[0] * np.sqrt(max(tau.shape)) * np.finfo(np.float64).eps))
    else:
        k = max(1, int(np.sum(np.cumsum(s**2) / np.sum(s**2) <= energy)))
    return u[:, :k], s[:k], vt[:k].T


def global_basis(spaces: list[Matrix], values: list[Matrix], energy: float, kind: str, tolerance: float) -> Matrix:
    """Left singular vectors of the concatenation, cut by searchsorted + 1; rotated in clusters when canonical."""
    q, s, _ = np.linalg.svd(np.concatenate(spaces, axis=1), full_matrices=False)
    share = np.cumsum(s**2) / np.sum(s**2)
    rank = int(np.sum(s > 1e-7)) if energy >= 1 else min(int(np.searchsorted(share, energy)) + 1, len(s))
    if kind == "canonical":
        weighted = np.concatenate([u * sigma for u, sigma in zip(spaces, values, strict=True)], axis=1)
        start = 0
        for stop in range(1, len(s) + 1):
            if stop == len(s) or s[stop - 1] - s[stop] > tolerance:
                if stop - start > 1 and s[start] > 1e-7:
                    rotation = np.linalg.svd(q[:, start:stop].T @ weighted)[0]
                    q[:, start:stop] = q[:, start:stop] @ rotation
                start = stop
    return q[:, :rank]


def anchored_basis(spaces: list[Matrix], values: list[Matrix], eps: float) -> Matrix:
    """``[U_1, orth((I − U_1U_1ᵀ) U_2)]`` for two tasks, the added part ordered by task 2's energy.

    What does not stand above the rounding of the working precision is no direction.
    """
    first, second = spaces
    residual = (second - first @ (first.T @ second)) * values[1]
    q, s, _ = np.linalg.svd(residual, full_matrices=False)
    threshold = max(values[0][0], values[1][0]) * np.sqrt(max(residual.shape)) * eps
    added = min(int(np.sum(s > threshold)), len(first) - first.shape[1])
    return np.concatenate([first, q[:, :added]], axis=1)


def prune(core: Matrix, eta: float) -> Matrix:
    """Smallest number of entries, by descending square, whose energy reaches eta of the total."""
    squares = (core**2).ravel()
    order = np.argsort(-squares, kind="stable")
    cumulative = np.cumsum(squares[order])
    kept = len(order) if eta >= 1 else int(np.searchsorted(cumulative, eta * cumulative[-1])) + 1
    result = np.zeros_like(core).ravel()
    result[order[:kept]] = core.ravel()[order[:kept]]
    return result.reshape(core.shape)


def types(first: Matrix, second: Matrix) -> dict[str, Matrix]:
    """Appendix, equations 25–31, entry by entry."""
    parts = {name: np.zeros_like(second) for name in ("A", "B", "C", "D+", "D-", "E")}
    for r, c in zip(*np.nonzero(second), strict=True):
        row_empty = not np.any(first[r, :])
        column_empty = not np.any(first[:, c])
        if first[r, c] != 0:
            name = "D+" if np.sign(first[r, c]) == np.sign(second[r, c]) else "D-"
        elif row_empty and column_empty:
            name = "A"
        elif row_empty:
            name = "B"
        elif column_empty:
            name = "C"
        else:
            name = "E"
        parts[name][r, c] = second[r, c]
    return parts


def analyse(
    taus: list[Matrix],
    svd_energy: tuple[float, ...] = (0.90, 0.99),
    eta: tuple[float, ...] = (0.95, 0.80),
    basis_energy: float = 0.999,
    kind: str = "canonical",
    tolerance: float = 1e-4,
    eps: float = float(np.finfo(np.float32).eps),
) -> Reference:
    """GLOBA for two tasks."""
    triplets = [truncate(tau, energy) for tau, energy in zip(taus, svd_energy, strict=True)]
    truncated = [(u * s) @ v.T for u, s, v in triplets]
    values = [s for _, s, _ in triplets]
    lefts, rights = [u for u, _, _ in triplets], [v for _, _, v in triplets]
    if kind == "anchored":
        left, right = anchored_basis(lefts, values, eps), anchored_basis(rights, values, eps)
    else:
        left = global_basis(lefts, values, basis_energy, kind, tolerance)
        right = global_basis(rights, values, basis_energy, kind, tolerance)
    cores = [left.T @ tau @ right for tau in truncated]
    if kind == "anchored":
        # Zero in exact arithmetic, which the definition of the types relies on.
        cores[0] = np.zeros_like(cores[0])
        cores[0][: len(values[0]), : len(values[0])] = np.diag(values[0])
    pruned = [prune(core, threshold) for core, threshold in zip(cores, eta, strict=True)]
    parts = {"C1": pruned[0], **types(pruned[0], pruned[1])}
    return Reference(truncated, [len(s) for s in values], left, right, cores, pruned, parts)
