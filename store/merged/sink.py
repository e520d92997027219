"""One tensor of an output model on its way to the disk, piece by piece."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from store.checkpoints.dtypes import CODES
from store.checkpoints.text import shown
from store.errors import StoreError
from store.merged.journal import Key, Place

if TYPE_CHECKING:
    import torch

Put = Callable[[Path, memoryview, int], None]
End = Callable[[Key, int, Mapping[str, object]], None]


class TensorSink:
    """Takes the flat entries of one tensor, or of one matrix of a stack, in their order.

    Parameters
    ----------
    place : Place
        Where its bytes lie.
    key : Key
        The tensor, and the number of a matrix in it.
    put, end
        Write bytes at a place; note that the tensor is complete, with its checksum.
    """

    def __init__(self, place: Place, key: Key, put: Put, end: End) -> None:
        self.dtype = place.tensor.dtype
        """Planned type, as safetensors calls it."""
        self.shape = place.tensor.shape if key[1] is None else place.tensor.shape[1:]
        """Planned shape."""
        self._place, self._key, self._put, self._end = place, key, put, end
        self._offset, self._left = place.part(key[1])
        self._checksum = 0

    def add(self, piece: torch.Tensor) -> None:
        """Write the next entries, of any shape, on any device.

        Raises
        ------
        StoreError
            When they have another type than planned, or are more than are left.
        """
        dtype, size = CODES.get(str(piece.dtype), str(piece.dtype)), piece.numel() * piece.element_size()
        if dtype != self.dtype or size > self._left:
            msg = f"{piece.numel():,} entries of {dtype} do not fit what is left to write"
            raise self._error(msg)
        if size:
            data = _bytes_of(piece)
            self._put(self._place.path, data, self._offset)
            self._checksum = zlib.crc32(data, self._checksum)
        self._offset, self._left = self._offset + size, self._left - size

    def end(self, note: Mapping[str, object] | None = None) -> None:
        """Conclude the tensor.

        Raises
        ------
        StoreError
            When entries are missing.
        """
        if self._left:
            msg = f"{self._left:,} bytes of {math.prod(self.shape):,} entries were not written"
            raise self._error(msg)
        self._end(self._key, self._checksum, note or {})

    def _error(self, why: str) -> StoreError:
        return StoreError(f"{shown(self._place.path)}: tensor {shown(self._key[0])}: {why}; write what was planned")


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
