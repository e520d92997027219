"""The published procedure, read literally: what an analysis of one layer costs without any of our shortcuts.

Full float32 SVDs of both task vectors with square factors, float64 SVDs of both concatenations, truncated task vectors
multiplied out, full sorts for pruning, dense masks for the types. It gives the basis that LAPACK happens to return.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Published:
    """Parts of the second task vector by type, and C̃_1, in the coordinates of both bases."""

    parts: dict[str, Tensor]
    left: Tensor
    right: Tensor


def analyse(
    tasks: tuple[Tensor, Tensor],
    svd_energy: tuple[float, float] = (0.90, 0.99),
    eta: tuple[float, float] = (0.95, 0.80),
    basis_energy: float = 0.999,
) -> Published:
    """Analyse one layer."""
    triplets = [_truncate(tau, energy) for tau, energy in zip(tasks, svd_energy, strict=True)]
    truncated = [(u * s) @ vh for u, s, vh in triplets]
    left = _basis([u for u, _, _ in triplets], basis_energy)
    right = _basis([vh.mT for _, _, vh in triplets], basis_energy)
    cores = [left.mT @ tau @ right for tau in truncated]
    first, second = (_prune(core, share) for core, share in zip(cores, eta, strict=True))
    return Published({"C1": first, **_types(first, second)}, left, right)


def _truncate(tau: Tensor, energy: float) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(tau, full_matrices=True)
    share = torch.cumsum(s**2, 0) / torch.sum(s**2)
    k = max(1, int((share <= energy).sum()))
    return u[:, :k], s[:k], vh[:k]


def _basis(spaces: list[Tensor], energy: float) -> Tensor:
    vectors: Tensor
    vectors, values, _ = torch.linalg.svd(torch.cat(spaces, dim=1).double(), full_matrices=False)
    share = torch.cumsum(values**2, 0) / torch.sum(values**2)
    return vectors[:, : int(torch.searchsorted(share, energy)) + 1].float()


def _prune(core: Tensor, eta: float) -> Tensor:
    squares = (core**2).flatten()
    ordered, order = torch.sort(squares, descending=True)
    share = torch.cumsum(ordered, 0) / torch.sum(squares)
    mask = torch.zeros_like(squares, dtype=torch.bool)
    mask[order[: int(torch.searchsorted(share, eta)) + 1]] = True
    return core * mask.view_as(core)


def _types(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    there, filled = second != 0, first != 0
    row = filled.any(dim=1)[:, None].expand_as(first)
    column = filled.any(dim=0)[None, :].expand_as(first)
    masks = {
        "A": there & ~row & ~column,
        "B": there & ~row & column,
        "C": there & row & ~column,
        "D+": there & filled & (torch.sign(first) == torch.sign(second)),
        "D-": there & filled & (torch.sign(first) != torch.sign(second)),
        "E": there & ~filled & row & column,
    }
    return {name: second * mask for name, mask in masks.items()}
