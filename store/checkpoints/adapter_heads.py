"""Output embeddings that an adapter brings for a base whose own are tied to its token embeddings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

from store.checkpoints.finding import Finding
from store.checkpoints.model import Checkpoint, TensorHeader
from store.checkpoints.reader import TensorReader
from store.checkpoints.text import shown
from store.checkpoints.tied import input_embedding, is_output_embedding

_BLOCK = 1 << 22
"""Entries that are compared at a time."""


def tied_heads(
    base: Checkpoint, model: Checkpoint, names: Mapping[str, str], ties: Mapping[str, str]
) -> dict[str, str]:
    """Map every output embedding of an adapter that a tied base has no place for to the base's token embeddings."""
    if not model.adapter:
        return {}
    paired = {other: name for name, other in names.items()}
    heads: dict[str, str] = {}
    for name in filter(is_output_embedding, model.tensors):
        ours = paired.get(name)
        shape = model.tensors[name].shape
        embedding = ties.get(ours) if ours is not None else input_embedding(base.tensors, shape, any_rows=True)
        if embedding is not None:
            heads[name] = embedding
    return heads


def report_heads(
    base: Checkpoint, model: Checkpoint, names: Mapping[str, str], heads: Mapping[str, str], label: str
) -> Iterator[Finding]:
    """Report the heads that `tied_heads` found: an error where one is more than a copy of the token embeddings.

    Notes
    -----
    Reads the values of a head that the adapter saves whole, and of what it may be a copy of, block by block.
    """
    for name, embedding in heads.items():
        tied = f"the base ties it to {shown(embedding)}"
        if name in model.low_rank:
            does = "adapts it"
        elif _is_copy(base, model, name, embedding, names.get(embedding)):
            text = f"{shown(name)}: a copy in {label}, tied to {shown(embedding)} in the base: left out"
            yield Finding("info", "tied", text, name)
            continue
        else:
            does = "has one of its own"
        cure = "name a base that stores output embeddings, with tie_word_embeddings false in its config.json"
        text = f"{shown(name)}: {label} ({shown(model.source)}) {does}, but {tied}; {cure}"
        yield Finding("error", "adapter", text, name)


def _is_copy(base: Checkpoint, model: Checkpoint, head: str, embedding: str, saved: str | None) -> bool:
    """Whether a head has the values of the token embeddings: of the adapter where it saves them, else of the base."""
    factors = model.low_rank.get(saved) if saved is not None else None
    theirs = factors.over if factors is not None else model.tensors[saved] if saved is not None else None
    owner = base if theirs is None else model
    return _equal(model, model.tensors[head], owner, theirs or base.tensors[embedding])


def _equal(model: Checkpoint, one: TensorHeader, owner: Checkpoint, other: TensorHeader) -> bool:
    if one.shape != other.shape:
        return False
    import torch

    with _reader(model, one) as head, _reader(owner, other) as table:
        entries = math.prod(one.shape)
        for start in range(0, entries, _BLOCK):
            stop = min(entries, start + _BLOCK)
            left, right = head.read_flat(one.name, start, stop), table.read_flat(other.name, start, stop)
            if not torch.equal(left.double(), right.double()):
                return False
    return True


def _reader(checkpoint: Checkpoint, header: TensorHeader) -> TensorReader:
    """A reader of one tensor by the name that it has in its file, which is another one in an adapter."""
    return TensorReader(dataclasses.replace(checkpoint, tensors={header.name: header}, low_rank={}))
