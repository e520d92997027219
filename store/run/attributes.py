"""Attributes of HDF5 objects that a stranger may have made.

Texts of variable length, as runs of format 1 and 2 have them, lie in heaps. HDF5 walks through a heap without looking
whether it gets ahead, and a damaged one keeps it busy for ever (HDFGroup/hdf5#1707): these are looked at before.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import h5py

_MOST_BYTES = 1 << 16
"""No attribute of ours is larger."""
_BLOCK = 1 << 24
_HEAP = b"GCOL\1"
_LEAST_HEAP, _MOST_HEAP = 1 << 12, 1 << 20
"""HDF5 itself refuses what is smaller, or ends behind the file; what it makes of our texts is no larger."""
_HEAD = 16
"""Bytes of what precedes a heap, and of what precedes each object in it."""


def read_int(node: h5py.Group | h5py.Dataset, key: str) -> int | None:
    """Read an attribute that is one whole number; None when it is missing or anything else."""
    import numpy as np

    if key not in node.attrs:
        return None
    attribute = node.attrs.get_id(key)
    if attribute.shape != () or attribute.dtype.kind not in "iu":
        return None
    value = np.empty((), dtype=attribute.dtype)
    attribute.read(value)
    return int(value)


def read_texts(node: h5py.Group | h5py.Dataset, key: str) -> tuple[str, ...]:
    """Read an attribute that is a text, or a list of texts.

    Raises
    ------
    ValueError
        It is something else, or it lies in a damaged heap.
    KeyError
        It is missing.
    """
    import h5py

    attribute = node.attrs.get_id(key)
    shape, kind = attribute.shape, h5py.check_string_dtype(attribute.dtype)
    if kind is None or shape is None or len(shape) > 1 or math.prod(shape) * attribute.dtype.itemsize > _MOST_BYTES:
        msg = f"attribute {key}: not texts"
        raise ValueError(msg)
    if kind.length is None:
        _require_sound_heaps(node.file.filename)
    value: Any = node.attrs[key]
    return tuple(
        text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        for text in (value if shape else [value])
    )


def _require_sound_heaps(name: str) -> None:
    path = Path(name)
    status = path.stat()
    if not _heaps_are_sound(path, status.st_ino, status.st_size, status.st_mtime_ns):
        msg = "a heap of texts does not hold together"
        raise ValueError(msg)


@functools.lru_cache(maxsize=4)
def _heaps_are_sound(path: Path, *_identity: int) -> bool:
    """Whether every heap in the file can be walked through to its end."""
    with path.open("rb") as file:
        return all(_is_sound(file, place) for place in _heaps(file))


def _heaps(file: BinaryIO) -> Iterator[int]:
    """Where something that HDF5 would take for a heap begins."""
    start, tail = 0, b""
    while block := file.read(_BLOCK):
        data = tail + block
        place = data.find(_HEAP)
        while place >= 0:
            yield start - len(tail) + place
            place = data.find(_HEAP, place + 1)
        start, tail = start + len(block), data[1 - len(_HEAP) :]
        file.seek(start)


def _is_sound(file: BinaryIO, start: int) -> bool:
    """Whether the objects of a heap lie one behind the other; one without a number is the free rest."""
    file.seek(start + 8)
    size = _word(file.read(8))
    if size < _LEAST_HEAP or start + size > os.fstat(file.fileno()).st_size:
        return True
    data = file.read(min(size, _MOST_HEAP) - _HEAD)
    place = 0
    while place + _HEAD <= len(data):
        number, length = data[place : place + 2], _word(data[place + 8 : place + _HEAD])
        if not any(number) and length < _HEAD:
            return False
        place += _HEAD + -(-length // 8) * 8 if any(number) else length
    return size <= _MOST_HEAP


def _word(data: bytes) -> int:
    return int.from_bytes(data, "little")
