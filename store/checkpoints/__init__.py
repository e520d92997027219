"""Checkpoints as they are found on disk: opened, checked, paired and read."""

from store.checkpoints.compare import Finding
from store.checkpoints.index import Index, Layer, build_index
from store.checkpoints.model import Checkpoint, SourceFile, TensorHeader
from store.checkpoints.open import open_checkpoint
from store.checkpoints.reader import TensorReader

__all__ = [
    "Checkpoint",
    "Finding",
    "Index",
    "Layer",
    "SourceFile",
    "TensorHeader",
    "TensorReader",
    "build_index",
    "open_checkpoint",
]
