"""Writing an output model tensor by tensor, so that it is complete or absent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from store.checkpoints.dtypes import CODES
from store.checkpoints.files import open_regular
from store.checkpoints.text import shown, shown_shape
from store.errors import DiskFullError, StoreError
from store.merged.place import check_place, check_space, make_temporary, move_into_place, sync_folder
from store.merged.plan import INDEX_NAME, OutputPlan, OutputTensor
from store.merged.process import OWNER_FILE

if TYPE_CHECKING:
    import torch

_PIECE = 64 * 1024 * 1024
_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


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
        self.out = Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow a link at OUT itself
        self.plan = plan
        self._overwrite = overwrite
        check_place(self.out, protected, overwrite=overwrite)
        self._missing: dict[str, tuple[OutputTensor, str, int]] = {}
        self._temporary = make_temporary(self.out)
        self._open = True
        try:
            check_space(self._temporary, plan.nbytes)
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
        """Write one planned tensor to its place; only once, in any order."""
        self._require_open()
        if name not in self._missing:
            fault = "was written already" if any(t.name == name for t in self.plan.tensors) else "is not in the plan"
            raise _error(self.out, f"tensor {shown(name)} {fault}; write every planned tensor once")
        planned, file, offset = self._missing[name]
        dtype, shape = CODES.get(str(tensor.dtype), str(tensor.dtype)), tuple(tensor.shape)
        if (dtype, shape) != (planned.dtype, planned.shape):
            got = f"{dtype} {shown_shape(shape)}"
            planned_text = f"{planned.dtype} {shown_shape(planned.shape)}"
            raise _error(
                self.out, f"tensor {shown(name)}: planned as {planned_text}, got {got}; convert it before writing"
            )
        if planned.nbytes:
            self._put(self._temporary / file, _bytes_of(tensor), offset)
        del self._missing[name]

    def add_text(self, name: str, text: str) -> None:
        """Write a small text file, UTF-8 with line breaks as they are."""
        self._put(self._new_file(name), memoryview(text.encode()), 0)

    def copy_file(self, source: Path, name: str | None = None) -> None:
        """Copy a regular file, under its own name or another."""
        target = self._new_file(name or source.name)
        with open_regular(source) as file:
            offset = 0
            while piece := file.read(_PIECE):
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
            raise _error(
                self.out, f"{len(self._missing):,} planned tensors were not written, first {first}; write them all"
            )
        index = self.plan.index_text()
        if index is not None:
            self.add_text(INDEX_NAME, index)
        try:
            for path in sorted(self._temporary.iterdir()):
                _sync(path)
            (self._temporary / OWNER_FILE).unlink()
            sync_folder(self._temporary)
            move_into_place(self._temporary, self.out, overwrite=self._overwrite)
        except OSError as error:
            raise self._failed(error) from error
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
            self._put(path, memoryview(header), 0)
            offset = len(header)
            for tensor in shard.tensors:
                self._missing[tensor.name] = (tensor, shard.file, offset)
                offset += tensor.nbytes
            os.truncate(path, offset)

    def _new_file(self, name: str) -> Path:
        self._require_open()
        path = self._temporary / name
        if path.parent != self._temporary or name in ("", ".", "..", OWNER_FILE) or "\0" in name:
            raise _error(self.out, f"{shown(repr(name))} is no plain file name; use one without folders")
        if os.path.lexists(path):
            raise _error(self.out, f"{shown(name)} was written already; write every file once")
        path.touch()
        return path

    def _put(self, path: Path, data: memoryview, offset: int) -> None:
        """Write bytes at a place; the system may take them in several steps."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                while data:
                    done = os.pwrite(descriptor, data[:_PIECE], offset)
                    data, offset = data[done:], offset + done
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StoreError:
        if error.errno in _NO_SPACE:
            return DiskFullError(self.out, self.plan.nbytes, shutil.disk_usage(self.out.parent).free)
        return _error(self.out, f"cannot be written ({error.strerror}); choose another output folder")

    def _require_open(self) -> None:
        if not self._open:
            raise _error(self.out, "was finished or given up already; make a new writer")

    def _error(self, why: str) -> StoreError:
        return StoreError(f"{shown(self.out)}: {why}")


def _error(out: Path, why: str) -> StoreError:
    return StoreError(f"{shown(out)}: {why}")


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
