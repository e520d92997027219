"""Task vectors whose spectra and subspaces are chosen."""

from __future__ import annotations

from collections.abc import Callable

import torch

Pair = tuple[torch.Tensor, torch.Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def orthonormal(rows: int, cols: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(rows, cols, dtype=torch.float64, generator=generator(seed)))[0]


def with_spectrum(rows: int, cols: int, values: torch.Tensor, seed: int) -> torch.Tensor:
    """A matrix with exactly these singular values (up to float64 rounding)."""
    rank = values.shape[0]
    return orthonormal(rows, rank, seed) * values.double() @ orthonormal(cols, rank, seed + 1000).T


def gaussian(rows: int, cols: int, seed: int, scale: float = 0.01) -> torch.Tensor:
    return scale * torch.randn(rows, cols, dtype=torch.float64, generator=generator(seed))


def decaying(count: int, power: float = 0.7) -> torch.Tensor:
    return torch.arange(1, count + 1, dtype=torch.float64) ** -power


def random_pair() -> Pair:
    return gaussian(48, 80, 1), gaussian(48, 80, 2)


def low_rank_pair() -> Pair:
    return with_spectrum(64, 40, decaying(5), 3), with_spectrum(64, 40, decaying(9), 4)


def clustered_pair() -> Pair:
    """Two tasks that share some directions exactly, and have others orthogonal to everything: large clusters."""
    left, right = orthonormal(60, 24, 5), orthonormal(44, 24, 6)
    first, second = decaying(14, 0.4), 0.8 * decaying(18, 0.3)
    return (left[:, :14] * first) @ right[:, :14].T, (left[:, 6:24] * second) @ right[:, 6:24].flip(1).T


def decaying_pair() -> Pair:
    return with_spectrum(72, 50, decaying(50), 7), with_spectrum(72, 50, decaying(50, 1.1), 8)


PAIRS: dict[str, Callable[[], Pair]] = {
    "random": random_pair,
    "low-rank": low_rank_pair,
    "clustered": clustered_pair,
    "decaying": decaying_pair,
}


def defect(vectors: torch.Tensor) -> float:
    return float((vectors.T @ vectors - torch.eye(vectors.shape[1], dtype=vectors.dtype)).abs().max())


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖, in float64."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def perturbed(matrix: torch.Tensor, size: float, seed: int) -> torch.Tensor:
    """Every entry moved by a relative normal error of this size."""
    return matrix * (1 + size * torch.randn(matrix.shape, dtype=torch.float64, generator=generator(seed)))
