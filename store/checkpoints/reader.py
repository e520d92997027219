"""Reading the values of single tensors."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from store.checkpoints.dtypes import torch_dtype
from store.checkpoints.files import open_regular, unreadable
from store.checkpoints.model import Checkpoint, SourceFile, TensorHeader
from store.checkpoints.text import shown, shown_shape
from store.errors import CheckpointError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Factors:
    """The change of one tensor as ``scale · left @ right``, in the types of the file."""

    left: torch.Tensor
    """Rows × rank."""
    right: torch.Tensor
    """Rank × columns."""
    scale: float
    over: torch.Tensor | None = None
    """What the change is added to where that is not the base's tensor."""


class TensorReader:
    """Reads tensors of one checkpoint, each into memory of its own.

    Parameters
    ----------
    checkpoint : Checkpoint
        From `open_checkpoint`.

    Notes
    -----
    Bytes are read once, straight into the tensor's memory; nothing is mapped or cached, so a read costs one tensor of
    memory. Every read opens its file anew and is safe from several threads. Legacy files that cannot be mapped (from
    before torch 1.6) are held in memory while the reader is open.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._files = {file.path: file for file in checkpoint.files}
        self._legacy: dict[Path, dict[str, torch.Tensor]] = {}

    def __enter__(self) -> TensorReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of legacy files; safetensors files are never kept open."""
        self._legacy.clear()

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor: in the type of the file, on the CPU, contiguous, in memory of its own.

        Raises
        ------
        CheckpointError
            When the checkpoint has no such tensor, its file changed since it was indexed, or torch lacks its type; when
            it is an adapter that has only factors of a change.
        """
        header = self._header(name)
        self._require_values(name)
        return self._read(header, header.shape, 0)

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read the rows ``start`` to ``stop`` (exclusive) of one tensor, that is a range of its first axis.

        Raises
        ------
        CheckpointError
            As `read`, and when the tensor has no such rows.
        """
        header = self._header(name)
        self._require_values(name)
        rows = header.shape[0] if header.shape else 0
        if not header.shape or not 0 <= start <= stop <= rows:
            asked = f"rows {start} to {stop} asked of {shown_shape(header.shape)}"
            message = f"{shown(header.file)}: tensor {shown(name)}: {asked}; choose a range within its first axis"
            raise CheckpointError(message)
        return self._read(header, (stop - start, *header.shape[1:]), start)

    def read_flat(self, name: str, start: int, stop: int, memory: torch.Tensor | None = None) -> torch.Tensor:
        """Read the entries ``start`` to ``stop`` (exclusive) of one tensor in the order of the file, as a flat tensor.

        It lies in `memory`, bytes that are used again, if that is given and large enough.

        Raises
        ------
        CheckpointError
            As `read`, and when the tensor has no such entries.
        """
        header = self._header(name)
        self._require_values(name)
        entries = math.prod(header.shape)
        if not 0 <= start <= stop <= entries:
            asked = f"entries {start} to {stop} asked of {entries}"
            message = f"{shown(header.file)}: tensor {shown(name)}: {asked}; choose a range within it"
            raise CheckpointError(message)
        if self.checkpoint.format == "legacy":
            return self._legacy_values(header).reshape(-1)[start:stop].clone()
        size = header.nbytes // entries if entries else 0
        return self._read_bytes(header, start * size, (stop - start) * size, memory)

    def factors(self, name: str) -> Factors | None:
        """Read the factors of one tensor of an adapter, in the orientation of the base; None for any other tensor.

        Raises
        ------
        CheckpointError
            As `read`.
        """
        one = self.checkpoint.low_rank.get(name)
        if one is None:
            return None
        up, down = self._read(one.up, one.up.shape, 0), self._read(one.down, one.down.shape, 0)
        over = None if one.over is None else self._read(one.over, one.over.shape, 0)
        left, right = (down.mT, up.mT) if one.flipped else (up, down)
        return Factors(left, right, one.scale, over)

    def _require_values(self, name: str) -> None:
        if name in self.checkpoint.low_rank:
            message = f"{shown(self.checkpoint.path)}: tensor {shown(name)} is a change given by factors; read those"
            raise CheckpointError(message)

    def _header(self, name: str) -> TensorHeader:
        header = self.checkpoint.tensors.get(name)
        if header is None:
            message = f"{shown(self.checkpoint.path)}: has no tensor {shown(name)}; check the name"
            raise CheckpointError(message)
        return header

    def _read(self, header: TensorHeader, shape: tuple[int, ...], row: int) -> torch.Tensor:
        if self.checkpoint.format == "legacy":
            return self._read_legacy(header, row, shape)
        per_row = header.nbytes // header.shape[0] if header.shape and header.shape[0] else 0
        count = per_row * shape[0] if shape else header.nbytes
        return self._read_bytes(header, row * per_row, count).reshape(shape)

    def _read_bytes(
        self, header: TensorHeader, skip: int, count: int, memory: torch.Tensor | None = None
    ) -> torch.Tensor:
        dtype = torch_dtype(header.dtype)
        with open_regular(header.file) as file:
            _check_unchanged(self._files[header.file], file)
            values = _read_values(file, header, dtype, header.offset + skip, count, memory)
            _check_unchanged(self._files[header.file], file)
        return values

    def _read_legacy(self, header: TensorHeader, row: int, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        found = self._legacy_values(header)
        part = found[row : row + shape[0]] if shape else found
        return part.clone(memory_format=torch.contiguous_format)

    def _legacy_values(self, header: TensorHeader) -> torch.Tensor:
        from store.checkpoints.legacy_headers import load

        with open_regular(header.file) as file:
            _check_unchanged(self._files[header.file], file)
        if header.file not in self._legacy:
            try:
                self._legacy[header.file] = load(header.file)
            except Exception as error:
                raise unreadable(header.file, error) from error
        return self._legacy[header.file][header.name].detach()


def _read_values(
    file: FileIO, header: TensorHeader, dtype: torch.dtype, offset: int, count: int, memory: torch.Tensor | None
) -> torch.Tensor:
    import torch

    if not count:
        return torch.empty(0, dtype=dtype)
    # torch.empty leaves the memory untouched and aligned; a bytearray would be zeroed first.
    raw = memory[:count] if memory is not None and len(memory) >= count else torch.empty(count, dtype=torch.uint8)
    target = raw.numpy().data
    file.seek(offset)
    done = 0
    while done < count:
        step = file.readinto(target[done:])
        if not step:
            message = f"{shown(header.file)}: tensor {shown(header.name)}: {count - done:,} bytes are missing"
            raise CheckpointError(message + "; fetch the file again")
        done += step
    # Any byte but 0 is true; a bool tensor must hold nothing but 0 and 1.
    return raw.ne(0) if dtype is torch.bool else raw.view(dtype)


def _check_unchanged(indexed: SourceFile, file: FileIO) -> None:
    now = os.fstat(file.fileno())
    if now.st_size == indexed.size and now.st_mtime_ns == indexed.mtime_ns:
        return
    if now.st_size != indexed.size:
        change = f"had {indexed.size:,} bytes when it was indexed, has {now.st_size:,}"
    else:
        change = f"was modified after it was indexed (mtime {indexed.mtime_ns} ns, now {now.st_mtime_ns} ns)"
    message = f"{shown(indexed.path)}: {change}; leave sources alone while they are used, and start again"
    raise CheckpointError(message)
