"""What is known about a checkpoint without reading a single value of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """One tensor of a checkpoint: what it is, and where its bytes lie."""

    name: str
    dtype: str
    """Safetensors code: ``"BF16"``, ``"F16"``, ``"F32"``, ``"I64"``, …"""
    shape: tuple[int, ...]
    file: Path
    offset: int
    """First byte in ``file``. In a legacy file: a position that tensors sharing their bytes share."""
    nbytes: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Identity of one weight file, to notice when it is not the one that was indexed."""

    path: Path
    size: int
    """Bytes."""
    mtime_ns: int
    header_sha256: str


@dataclass(frozen=True, slots=True)
class LowRank:
    """The change of one tensor as an adapter stores it: ``scale · up @ down``, or its transpose."""

    down: TensorHeader
    """A, rank × in."""
    up: TensorHeader
    """B, out × rank."""
    scale: float
    flipped: bool
    """Whether the base stores the tensor as (in, out): embeddings, and the linear layers of GPT-2."""
    over: TensorHeader | None = None
    """What the change is added to, when the adapter brings that along; None means the base's tensor."""

    @property
    def rank(self) -> int:
        """Columns of B."""
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the tensor it belongs to."""
        rows, cols = self.up.shape[0], self.down.shape[1]
        return (cols, rows) if self.flipped else (rows, cols)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as its headers describe it."""

    source: str
    """What the user wrote."""
    path: Path
    """The folder, or the one file."""
    format: Literal["safetensors", "legacy"]
    tensors: Mapping[str, TensorHeader] = field(repr=False)
    """By name, in the order of the files and of the bytes in them."""
    files: tuple[SourceFile, ...] = field(repr=False)
    config: Mapping[str, object] = field(repr=False)
    """``config.json``, or empty when there is none."""
    adapter: bool = False
    """Whether it is a LoRA adapter: it holds only what it changes, everything else is as in its base."""
    low_rank: Mapping[str, LowRank] = field(default_factory=dict[str, LowRank], repr=False)
    """Tensors of an adapter that are given by factors; `tensors` has the shape of their product."""

    @property
    def folder(self) -> Path:
        """The folder that its small files are in."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
