"""How far a merged tensor moved from the base, beside how far its sources did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from analysis.product import Product
from globa_tui.jobs.weights import Model

_CHUNK = 1 << 18


@dataclass(frozen=True)
class Drift:
    """Frobenius norms of one tensor."""

    base: float
    """‖W0‖."""
    merged: float
    """‖W‖ of the result."""
    change: float
    """‖W − W0‖."""
    task_vectors: tuple[float, ...]
    """‖τ_i‖; 0 where a fine-tune does not have the tensor."""

    @property
    def relative(self) -> float:
        """‖W − W0‖ / ‖W0‖; infinite where the base is zero and the result is not."""
        if self.base == 0.0:
            return math.inf if self.change > 0.0 else 0.0
        return self.change / self.base

    @property
    def relative_inputs(self) -> tuple[float, ...]:
        """‖τ_i‖ / ‖W0‖."""
        return tuple(norm / self.base if self.base else 0.0 for norm in self.task_vectors)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"task_vectors": list(self.task_vectors)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Drift:
        """Read what `to_dict` wrote."""
        numbers = {name: float(values[name]) for name in ("base", "merged", "change")}
        return cls(**numbers, task_vectors=tuple(float(value) for value in values["task_vectors"]))


class DriftMeter:
    """Adds up the drift of a tensor that is merged part after part.

    Parameters
    ----------
    tasks
        Number of fine-tunes.
    """

    def __init__(self, tasks: int) -> None:
        self._base, self._merged, self._change = 0.0, 0.0, 0.0
        self._task_vectors = [0.0] * tasks
        self._memory: torch.Tensor | None = None

    def add(self, base: torch.Tensor, merged: torch.Tensor, norms: Sequence[float]) -> float:
        """Add a part: the base's and the result's entries, and ‖W0‖ and every ‖τ_i‖ over them; gives ‖W‖ over them."""
        size = change = 0.0
        pieces = (torch.split(one.detach().reshape(-1), _CHUNK) for one in (base, merged))
        for old, new in zip(*pieces, strict=True):
            wide = self._widened(new)
            size += norm(wide) ** 2
            change += norm(wide.sub_(_wide(old))) ** 2
        self._base += norms[0] ** 2
        self._merged += size
        self._change += change
        for task, one in enumerate(norms[1:]):
            self._task_vectors[task] += one**2
        return math.sqrt(size)

    def _widened(self, piece: torch.Tensor) -> torch.Tensor:
        """The piece in at least float32, in memory that the next one uses again."""
        dtype = torch.float64 if piece.dtype == torch.float64 else torch.float32
        if self._memory is None or (self._memory.dtype, self._memory.device) != (dtype, piece.device):
            self._memory = torch.empty(_CHUNK, dtype=dtype, device=piece.device)
        return self._memory[: piece.numel()].copy_(piece)

    @property
    def drift(self) -> Drift:
        """Of everything that was added."""
        base, merged, change = (math.sqrt(one) for one in (self._base, self._merged, self._change))
        return Drift(base, merged, change, tuple(math.sqrt(one) for one in self._task_vectors))


def task_norm(model: Model, base: torch.Tensor) -> float:
    """‖τ_i‖ of what a fine-tune has in place of the base's tensor."""
    if model is None:
        return 0.0
    return model.norm if isinstance(model, Product) else distance(model, base)


def distance(one: torch.Tensor, other: torch.Tensor | None = None) -> float:
    """‖X − Y‖, or ‖X‖, over pieces, summed in float64."""
    first = one.detach().reshape(-1)
    second = other.detach().reshape(-1) if other is not None else None
    total = 0.0
    for start in range(0, first.numel(), _CHUNK):
        piece = _wide(first[start : start + _CHUNK])
        if second is not None:
            piece = piece - _wide(second[start : start + _CHUNK]).to(piece)
        total += norm(piece) ** 2
    return math.sqrt(total)


def norm(piece: torch.Tensor) -> float:
    """Norm in the type of the piece, and in float64 where its squares leave the range of that type."""
    found = float(torch.linalg.vector_norm(piece))
    return found if 1e-15 < found < math.inf else float(torch.linalg.vector_norm(piece, dtype=torch.float64))


def _wide(piece: torch.Tensor) -> torch.Tensor:
    return piece if piece.dtype == torch.float64 else piece.float()
