"""Writing an output model tensor by tensor, so that it is complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from store import files
from store.checkpoints.dtypes import CODES
from store.checkpoints.files import open_regular, unreadable
from store.checkpoints.text import shown, shown_shape
from store.errors import StoreError
from store.merged.owner import OWNER_FILE
from store.merged.place import check_place, clear_abandoned, make_temporary, move_into_place
from store.merged.plan import INDEX_NAME, OutputPlan, OutputTensor

if TYPE_CHECKING:
    import torch

_PIECE = 64 * 1024 * 1024
_MARGIN = 16 * 1024 * 1024
"""Bytes kept free for configs, tokenizer and the file system's own books."""


class MergedWriter:
    """Writes a model folder: planned tensors in any order, then small files, then everything at once appears as OUT.

    Parameters
    ----------
    out : Path
        The folder to make.
    plan : OutputPlan
        From `plan_output`.
    metadata : mapping of str to str
        For the safetensors headers; ``{"format": "pt"}`` is added, which readers insist on.
    overwrite : bool
        Replace an earlier output. Only a folder that holds nothing but files of a model is replaced.
    protected : sequence of Path
        Sources, which OUT must not be or contain.

    Raises
    ------
    OutputExistsError
        When OUT exists and may not be replaced.
    DiskFullError
        When the disk is too small, before anything is written, or when it fills up later.
    StoreError
        When a tensor is unplanned, has another type or shape than planned, or comes twice.

    Notes
    -----
    Use as a context manager and call `finish`; leaving it in any other way removes what was written. Files are written
    in ``.NAME.tmp-<pid>`` beside OUT, synced, and renamed. After a ``kill -9`` the next writer to the same OUT clears
    that folder away. Equal plans, tensors and metadata give equal bytes. Memory: one tensor, the one being written.
    """

    def __init__(
        self,
        out: Path,
        plan: OutputPlan,
        *,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        protected: Sequence[Path] = (),
    ) -> None:
        self.out = Path(os.path.abspath(out))  # noqa: PTH100 - resolve would follow a link at OUT itself
        self.plan = plan
        self._overwrite = overwrite
        self._missing: dict[str, tuple[OutputTensor, Path, int]] = {}
        with files.disk_errors(self.out):
            clear_abandoned(self.out)
            check_place(self.out, protected, overwrite=overwrite)
        files.ensure_free(self.out.parent, plan.nbytes + _MARGIN)
        self._temporary = make_temporary(self.out)
        self._open = True
        try:
            self._start({"format": "pt", **(metadata or {})})
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> MergedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write one planned tensor to its place; only once, in any order.

        Parameters
        ----------
        name : str
            As planned.
        tensor : torch.Tensor
            Of the planned type and shape, on any device, contiguous or not.
        """
        self._require_open()
        if name not in self._missing:
            fault = "was written already" if any(t.name == name for t in self.plan.tensors) else "is not in the plan"
            raise _error(self.out, f"tensor {shown(name)} {fault}; write every planned tensor once")
        planned, path, offset = self._missing[name]
        dtype, shape = CODES.get(str(tensor.dtype), str(tensor.dtype)), tuple(tensor.shape)
        if (dtype, shape) != (planned.dtype, planned.shape):
            expected = f"{planned.dtype} {shown_shape(planned.shape)}"
            fault = f"planned as {expected}, got {dtype} {shown_shape(shape)}; convert it before writing"
            raise _error(self.out, f"tensor {shown(name)}: {fault}")
        if planned.nbytes:
            self._put(path, _bytes_of(tensor), offset)
        del self._missing[name]

    def add_text(self, name: str, text: str) -> None:
        """Write a small text file, UTF-8 with line breaks as they are."""
        self._put(self._new_file(name), memoryview(text.encode()), 0)

    def copy_file(self, source: Path, name: str | None = None) -> None:
        """Copy a regular file, under its own name or another."""
        target = self._new_file(name or source.name)
        with open_regular(source) as file:
            self._put(target, memoryview(b""), 0)
            offset = 0
            while piece := _read_piece(file, source):
                self._put(target, memoryview(piece), offset)
                offset += len(piece)

    def finish(self) -> Path:
        """Make everything durable and give the folder its name.

        Returns
        -------
        Path
            OUT.

        Raises
        ------
        StoreError
            When planned tensors are missing; nothing appears as OUT then.
        """
        self._require_open()
        if self._missing:
            first = shown(next(iter(self._missing)))
            fault = f"{len(self._missing):,} planned tensors were not written, first {first}; write them all"
            raise _error(self.out, fault)
        index = self.plan.index_text()
        if index is not None:
            self._put(self._temporary / INDEX_NAME, memoryview(index.encode()), 0)
        with files.disk_errors(self.out, needed=self.plan.nbytes):
            for path in sorted(self._temporary.iterdir()):
                _sync_file(path)
            (self._temporary / OWNER_FILE).unlink()
            files.sync_folder(self._temporary)
            move_into_place(self._temporary, self.out, overwrite=self._overwrite)
        self._open = False
        return self.out

    def abort(self) -> None:
        """Remove what was written, unless it was finished. May be called more than once."""
        if self._open:
            self._open = False
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _start(self, metadata: Mapping[str, str]) -> None:
        for shard in self.plan.shards:
            header = shard.header(metadata)
            path = self._temporary / shard.file
            self._put(path, memoryview(header), 0, size=len(header) + shard.nbytes)
            offset = len(header)
            for tensor in shard.tensors:
                self._missing[tensor.name] = (tensor, path, offset)
                offset += tensor.nbytes

    def _new_file(self, name: str) -> Path:
        self._require_open()
        path = self._temporary / name
        if path.parent != self._temporary or name in ("", ".", "..", OWNER_FILE) or "\0" in name:
            raise _error(self.out, f"{shown(repr(name))} is no plain file name; use one without folders")
        if name.endswith((".safetensors", ".safetensors.index.json")):
            raise _error(self.out, f"{shown(name)} would pass for weights; use another name")
        if os.path.lexists(path):
            raise _error(self.out, f"{shown(name)} was written already; write every file once")
        return path

    def _put(self, path: Path, data: memoryview, offset: int, size: int | None = None) -> None:
        """Write bytes at a place, after giving the file its size; the system may take them in several steps."""
        with files.disk_errors(self.out, needed=self.plan.nbytes):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                if size is not None:
                    files.cut(descriptor, size)
                while data:
                    done = files.write_some(descriptor, data[:_PIECE], offset)
                    data, offset = data[done:], offset + done
            finally:
                os.close(descriptor)

    def _require_open(self) -> None:
        if not self._open:
            raise _error(self.out, "was finished or given up already; make a new writer")


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _error(out: Path, why: str) -> StoreError:
    return StoreError(f"{shown(out)}: {why}")


def _read_piece(file: FileIO, source: Path) -> bytes:
    try:
        return file.read(_PIECE)
    except OSError as error:
        raise unreadable(source, error) from error


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        files.sync(descriptor)
    finally:
        os.close(descriptor)
