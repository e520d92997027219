"""What merges one tensor after another, and the ways in which it does."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch

from analysis.merge import Preparation, Role
from globa_tui.coefficients import GROUPS
from globa_tui.jobs.drift import distance, task_norm
from globa_tui.jobs.layer_values import LayerValues, Merged
from globa_tui.jobs.weights import Models
from store.checkpoints import Layer

EMBEDDING_KINDS = GROUPS["embeddings"]


class Way(enum.Enum):
    """What of a tensor is in memory while it is merged."""

    PARTS = enum.auto()
    """Some entries at a time."""
    ROWS = enum.auto()
    """Some rows at a time, in several passes, and matrices as wide as a row."""
    WHOLE = enum.auto()
    """All of it, in every model."""


class LayerMerger(Protocol):
    """Merges one tensor after another; `passed_through` collects the layers whose analysis had failed."""

    passed_through: list[str]
    prepared: Preparation | None
    """What its passes over the checkpoint found."""

    @property
    def passes(self) -> int:
        """How many times every tensor must be shown to `see` before the first is merged."""
        ...

    def see(self, values: LayerValues) -> None:
        """Take in one tensor of a pass over the checkpoint."""
        ...

    def end_pass(self) -> None:
        """Conclude a pass."""
        ...

    def way(self, layer: Layer) -> Way:
        """How a tensor is merged."""
        ...

    def merge(self, values: LayerValues) -> Iterator[Merged]:
        """The merged tensor in ranges; a model that lacks the tensor counts as unchanged."""
        ...


def role_of_layer(layer: Layer) -> Role:
    """What a tensor is to a merge method: embeddings and output heads are matrices of their own sort."""
    if layer.role == "matrix" and layer.kind in EMBEDDING_KINDS:
        return "embedding"
    return layer.role


def described(layer: Layer) -> Mapping[str, Any]:
    """What coefficients and parameters for parts of a model go by."""
    return {"name": layer.name, "kind": layer.kind, "block": layer.block}


def norms(base: torch.Tensor, models: Models) -> tuple[float, ...]:
    """‖W0‖ and every ‖τ_i‖."""
    return distance(base), *(task_norm(one, base) for one in models)
