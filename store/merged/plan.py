"""Where every tensor of an output goes, decided before the first byte is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from store.checkpoints.dtypes import BITS
from store.checkpoints.text import shown, shown_shape
from store.errors import StoreError

INDEX_NAME = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor that will be written."""

    name: str
    dtype: str
    """Safetensors code, e.g. ``"BF16"``."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return math.prod(self.shape) * BITS[self.dtype] // 8


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of the output."""

    file: str
    tensors: tuple[OutputTensor, ...]
    """In the order of their bytes."""

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def header(self, metadata: Mapping[str, str]) -> bytes:
        """Return the length field and the JSON, padded with spaces so that the values start at a multiple of 8."""
        entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
        begin = 0
        for tensor in self.tensors:
            end = begin + tensor.nbytes
            entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
            begin = end
        text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """All files of the output."""

    shards: tuple[Shard, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(shard.nbytes for shard in self.shards)

    @property
    def tensors(self) -> tuple[OutputTensor, ...]:
        """All tensors, shard by shard."""
        return tuple(tensor for shard in self.shards for tensor in shard.tensors)

    def index_text(self) -> str | None:
        """Return the text of the index file; None for a single file, which needs none."""
        if len(self.shards) == 1:
            return None
        weight_map = {tensor.name: shard.file for shard in self.shards for tensor in shard.tensors}
        index = {"metadata": {"total_size": self.nbytes}, "weight_map": dict(sorted(weight_map.items()))}
        return json.dumps(index, ensure_ascii=False, indent=2) + "\n"


def plan_output(tensors: Sequence[OutputTensor], shard_size: int) -> OutputPlan:
    """Divide tensors into files.

    Parameters
    ----------
    tensors : sequence of OutputTensor
        In the order wanted. Files are filled in this order; within a file, wider types come first so that every
        tensor is aligned (the order is kept where all types have one width).
    shard_size : int
        Bytes of values per file. A larger tensor gets a file of its own.

    Returns
    -------
    OutputPlan
        One file ``model.safetensors``, or ``model-00001-of-0000n.safetensors`` and so on.

    Raises
    ------
    StoreError
        When there are no tensors, a name comes twice, or a type or shape cannot be stored.
    """
    if shard_size < 1:
        message = f"a shard of {shard_size:,} bytes cannot hold anything; choose a positive size"
        raise StoreError(message)
    _check(tensors)
    groups: list[list[OutputTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if groups[-1] and filled + tensor.nbytes > shard_size:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.nbytes
    return OutputPlan(tuple(_shard(group, number, len(groups)) for number, group in enumerate(groups, 1)))


def _shard(group: list[OutputTensor], number: int, count: int) -> Shard:
    file = "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"
    return Shard(file, tuple(sorted(group, key=lambda tensor: -BITS[tensor.dtype])))


def _check(tensors: Sequence[OutputTensor]) -> None:
    if not tensors:
        message = "an output without tensors cannot be written; include at least one"
        raise StoreError(message)
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names or not _is_name(tensor.name):
            fault = "is planned twice" if tensor.name in names else "is no name for a tensor"
            message = f"tensor {shown(repr(tensor.name))} {fault}; every output tensor needs a name of its own"
            raise StoreError(message)
        names.add(tensor.name)
        if BITS.get(tensor.dtype, 0) < 8 or any(type(size) is not int or size < 0 for size in tensor.shape):
            kind = f"{tensor.dtype} {shown_shape(tensor.shape)}"
            message = f"tensor {shown(tensor.name)}: {kind} cannot be written; use whole-byte types and sizes from 0"
            raise StoreError(message)


def _is_name(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name not in ("", "__metadata__")
