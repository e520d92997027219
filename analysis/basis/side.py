"""What every global basis offers for one side (left or right), and the clusters that make it ambiguous."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.spectrum import smallest_rank_reaching

_CHUNK = 512
"""Rows or columns that are looked at at a time."""


@dataclass(frozen=True)
class SideBasis:
    """An orthonormal basis Q of one side, and the task vectors' singular vectors in its coordinates.

    `vectors` is Q (dim × rank). `coordinates[i]` is ``Qᵀ U_i`` (rank × rank_i); there may be none, since they are large
    and of no use once the interaction matrices are known. `strengths` are the singular values of the concatenation
    ``[U_1 … U_T]`` that belong to the columns of Q, largest first. `clustered` marks the columns whose strength is
    shared with another column: inside such a cluster every orthonormal basis is equally valid.
    """

    vectors: Float[Tensor, "dim rank"]
    coordinates: tuple[Float[Tensor, "rank _"], ...]
    strengths: Float[Tensor, " rank"]
    clustered: Bool[Tensor, " rank"]

    @property
    def rank(self) -> int:
        """Number of basis vectors."""
        return self.vectors.shape[1]

    def cluster_energy(self, singular_values: Sequence[Float[Tensor, " _"]]) -> float:
        """Energy of the tasks, ``Σ_i ‖Q_cᵀ U_i Σ_i‖_F²``, in the clustered columns Q_c."""
        total = 0.0
        for coordinates, values in zip(self.coordinates, singular_values, strict=True):
            rows = zip(torch.split(coordinates, _CHUNK), torch.split(self.clustered, _CHUNK), strict=True)
            for some, clustered in rows:
                total += float((some[clustered].double() * values.double()).square_().sum())
        return total


def cluster_tolerance(dtype: torch.dtype, directions: int) -> float:
    """Largest difference of two singular values of ``[U_1 … U_T]`` that counts as none, for a working precision.

    The values lie in [0, √T], `directions` of them. Values that are equal in exact arithmetic come out within 1e-6 in
    float32 (1e-12 in float64); distinct ones lie about 1/`directions` apart, and repel each other. So the tolerance for
    float32 is 1e-4 up to a thousand directions and a tenth of that spacing beyond: a fixed 1e-4 would chain distinct
    values of a 4096×4096 layer at full rank.
    """
    return 1e-8 if dtype == torch.float64 else min(1e-4, max(0.1 / max(directions, 1), 3e-6))


def find_clusters(strengths: Float[Tensor, " rank"], tolerance: float) -> list[tuple[int, int]]:
    """Split descending `strengths` into runs whose neighbours differ by at most `tolerance`; [start, stop) each."""
    values = strengths.double()
    breaks = torch.nonzero(values[:-1] - values[1:] > tolerance).flatten() + 1
    edges = [0, *breaks.tolist(), values.shape[0]]
    return [(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True) if stop > start]


def clustered_mask(clusters: Sequence[tuple[int, int]], rank: int) -> Bool[Tensor, " rank"]:
    """Mark the columns that share a cluster with another one, counting the whole cluster before any cut at `rank`."""
    mask = torch.zeros(rank, dtype=torch.bool)
    for start, stop in clusters:
        if stop - start > 1:
            mask[start:stop] = True
    return mask


def kept_rank(strengths: Float[Tensor, " full"], energy: float, smallest: float) -> int:
    """Rank of the basis: the fewest directions that reach `energy` of ``Σσ²``, and none at or below `smallest`."""
    return min(smallest_rank_reaching(strengths, energy), int((strengths > smallest).sum()))


def positive_signs(vectors: Float[Tensor, "dim rank"]) -> Float[Tensor, " rank"]:
    """Signs (±1) that make the entry of largest magnitude of every column positive; the first one where two tie."""
    if vectors.numel() == 0:
        return vectors.new_ones(vectors.shape[1])
    some = torch.split(vectors, _CHUNK, dim=1)
    largest = torch.cat([part.gather(0, part.abs().argmax(dim=0, keepdim=True))[0] for part in some])
    return torch.where(largest < 0, -1.0, 1.0).to(vectors.dtype)
