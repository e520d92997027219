"""Checkpoints as they are found on disk: opened, checked, paired and read."""

from store.checkpoints.finding import Finding
from store.checkpoints.index import Index, Layer, build_index
from store.checkpoints.model import Checkpoint, LowRank, SourceFile, TensorHeader
from store.checkpoints.open import open_checkpoint
from store.checkpoints.reader import Factors, TensorReader
from store.checkpoints.values import IndexReader
from store.checkpoints.vocabulary import Vocabulary

__all__ = [
    "Checkpoint",
    "Factors",
    "Finding",
    "Index",
    "IndexReader",
    "Layer",
    "LowRank",
    "SourceFile",
    "TensorHeader",
    "TensorReader",
    "Vocabulary",
    "build_index",
    "open_checkpoint",
]
