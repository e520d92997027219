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

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
