"""Writing arrays and texts into HDF5 by h5py's low-level calls.

A small layer is mostly attributes: `create_dataset` and `attrs` take four times as long. This module
imports h5py at once, so it is itself imported only where something is written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5s, h5t

_BLOCK = 1 << 26


class ArrayWriter:
    """Makes datasets with their attributes; types, spaces and property lists are made once."""

    def __init__(self) -> None:
        self._create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        self._create.set_obj_track_times(False)
        self._link = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        self._link.set_create_intermediate_group(True)
        self._kinds: dict[np.dtype[Any], _Kind] = {}
        self._spaces: dict[tuple[int, ...], h5s.SpaceID] = {(): h5s.create(h5s.SCALAR)}
        self._texts: dict[str | tuple[str, ...], np.ndarray[Any, Any]] = {}

    def array(
        self,
        group: h5py.Group,
        name: str,
        values: np.ndarray[Any, Any] | h5py.Dataset,
        unit: str,
        description: str,
        dims: tuple[str, ...],
    ) -> int:
        """Write one array, which may be a dataset of another file, and its attributes; return its checksum."""
        dataset, checksum = self.values(group, name, values)
        self._attribute(dataset, b"unit", self._as_text(unit))
        self._attribute(dataset, b"description", self._as_text(description))
        self._attribute(dataset, b"dims", self._as_text(dims))
        self._attribute(dataset, b"crc32", np.array(checksum, dtype=np.uint32))
        return checksum

    def values(
        self, group: h5py.Group, name: str, values: np.ndarray[Any, Any] | h5py.Dataset
    ) -> tuple[h5py.h5d.DatasetID, int]:
        """Write the numbers of an array alone; return them with their checksum."""
        kind = self._kind(values.dtype.newbyteorder("<"))
        dataset = self._dataset(group, name, kind.stored, values.shape)
        return dataset, _fill(dataset, values, kind)

    def text(self, group: h5py.Group, name: str, data: bytes) -> None:
        """Write UTF-8 text as one fixed-length string."""
        size = max(len(data), 1)
        kind = h5t.C_S1.copy()
        kind.set_size(size)
        kind.set_strpad(h5t.STR_NULLPAD)
        kind.set_cset(h5t.CSET_UTF8)
        dataset = self._dataset(group, name, kind, ())
        dataset.write(self._spaces[()], self._spaces[()], np.array(data, dtype=f"S{size}"), kind)

    def group(self, parent: h5py.Group, name: str) -> h5py.Group:
        """Make a group; HDF5 keeps their oldest form as long as no name is declared as UTF-8."""
        return h5py.Group(h5py.h5g.create(parent.id, name.encode("ascii")))

    def count(self, group: h5py.Group, key: str, value: int) -> None:
        """Write a whole number as an attribute of a group."""
        self._attribute(group.id, key.encode(), np.array(value, dtype=np.int64))

    def _dataset(self, group: h5py.Group, name: str, kind: h5t.TypeID, shape: tuple[int, ...]) -> h5py.h5d.DatasetID:

        return h5py.h5d.create(group.id, name.encode("ascii"), kind, self._space(shape), self._create, self._link)

    def _attribute(self, owner: h5py.h5d.DatasetID | h5py.h5g.GroupID, key: bytes, value: np.ndarray[Any, Any]) -> None:

        kind = self._kind(value.dtype)
        h5py.h5a.create(owner, key, kind.stored, self._space(value.shape)).write(value, mtype=kind.memory)

    def _space(self, shape: tuple[int, ...]) -> h5py.h5s.SpaceID:

        if shape not in self._spaces:
            self._spaces[shape] = h5s.create_simple(shape)
        return self._spaces[shape]

    def _kind(self, dtype: np.dtype[Any]) -> _Kind:
        if dtype not in self._kinds:
            self._kinds[dtype] = _Kind.of(dtype)
        return self._kinds[dtype]

    def _as_text(self, value: str | tuple[str, ...]) -> np.ndarray[Any, Any]:
        """A text, or a list of texts, as UTF-8 of a fixed length: no other lies where the attribute does."""
        if value not in self._texts:
            texts = [value.encode()] if isinstance(value, str) else [text.encode() for text in value]
            kind = h5py.string_dtype(length=max([1, *map(len, texts)]))
            self._texts[value] = np.array(texts[0] if isinstance(value, str) else texts, dtype=kind)
        return self._texts[value]


@dataclass(frozen=True)
class _Kind:
    """A type of numbers or texts, as it lies in the file and in memory."""

    dtype: np.dtype[Any]
    stored: h5py.h5t.TypeID
    memory: h5py.h5t.TypeID

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> _Kind:

        return cls(dtype, h5t.py_create(dtype, logical=True), h5t.py_create(dtype))


def _fill(dataset: h5py.h5d.DatasetID, values: np.ndarray[Any, Any] | h5py.Dataset, kind: _Kind) -> int:
    """Copy block by block, so that no second copy of a large array is held; return the checksum."""
    if (
        isinstance(values, np.ndarray)
        and values.nbytes <= _BLOCK
        and values.dtype == kind.dtype
        and values.flags.c_contiguous
    ):
        dataset.write(h5s.ALL, h5s.ALL, values, kind.memory)
        return zlib.crc32(values.data.cast("B")) if values.size else 0
    checksum = 0
    for block in _blocks(values.shape, kind.dtype.itemsize):
        given = np.asarray(values[block])
        part = np.ascontiguousarray(given, dtype=kind.dtype).reshape(given.shape)
        if part.shape == values.shape:
            dataset.write(h5s.ALL, h5s.ALL, part, kind.memory)
        else:
            h5py.Dataset(dataset)[block] = part
        checksum = zlib.crc32(part.data.cast("B"), checksum)
    return checksum


def _blocks(shape: tuple[int, ...], itemsize: int) -> Iterator[Any]:
    if not shape:
        yield ()
        return
    row = itemsize
    for size in shape[1:]:
        row *= size
    if shape[0] * row == 0:
        return
    step = max(1, _BLOCK // row)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))
