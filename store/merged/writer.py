"""Writing an output model tensor by tensor, so that it is complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from store import files
from store.checkpoints.dtypes import CODES
from store.checkpoints.files import open_regular
from store.checkpoints.text import shown, shown_shape
from store.errors import StoreError
from store.merged.journal import JOURNAL_FILE, Journal, Key, Place, finished, is_continuation
from store.merged.owner import OWNER_FILE
from store.merged.place import check_place, clear_abandoned, make_temporary, move_into_place
from store.merged.plan import INDEX_NAME, OutputPlan
from store.merged.sink import TensorSink

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
    identity : str or None
        Everything that decides the values. With it, a merge that was killed is taken up by the next writer of equal
        identity and plan: `notes` has what is complete already.

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
    Use as a context manager and call `finish`; leaving it in any other way removes what was written, but a
    KeyboardInterrupt leaves it for the next writer when there is an identity. Files are written in
    ``.NAME.tmp-<pid>`` beside OUT, synced, and renamed. After a ``kill -9`` the next writer to the same OUT takes that
    folder up, or clears it away. Equal plans, tensors and metadata give equal bytes. Memory: the piece in writing.
    """

    def __init__(
        self,
        out: Path,
        plan: OutputPlan,
        *,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        protected: Sequence[Path] = (),
        identity: str | None = None,
    ) -> None:
        self.out = Path(os.path.abspath(out))  # noqa: PTH100 - resolve would follow a link at OUT itself
        self.plan, self._nbytes = plan, plan.nbytes
        self._overwrite = overwrite
        self._headers = {shard.file: shard.header({"format": "pt", **(metadata or {})}) for shard in plan.shards}
        self._identity = self._full_identity(identity) if identity is not None else None
        self._journal: Journal | None = None
        self._missing: set[Key] = set()
        self.notes: dict[Key, Mapping[str, object]] = {}
        """What an earlier start completed, with the notes it left; nothing of it needs to be written again."""
        with files.disk_errors(self.out):
            earlier = clear_abandoned(self.out, self._is_earlier)
            check_place(self.out, protected, overwrite=overwrite)
        if earlier is None:
            files.ensure_free(self.out.parent, self._nbytes + _MARGIN)
        self._temporary = make_temporary(self.out, earlier)
        self._places = self._place_tensors()
        self._open = True
        try:
            self._start(fresh=earlier is None)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> MergedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._identity is not None:
            self._leave()
        else:
            self.abort()

    def write(
        self, name: str, tensor: torch.Tensor, *, part: int | None = None, note: Mapping[str, object] | None = None
    ) -> None:
        """Write one planned tensor to its place; only once, in any order.

        Parameters
        ----------
        name : str
            As planned.
        tensor : torch.Tensor
            Of the planned type and shape, on any device, contiguous or not.
        part : int or None
            Number of a matrix along the first axis, to write a stack matrix by matrix; then all of them must come.
        note : mapping or None
            Kept with an identity, and found in `notes` by the writer that takes this merge up.
        """
        sink = self.start(name, part=part)
        planned = sink.shape
        dtype, shape = CODES.get(str(tensor.dtype), str(tensor.dtype)), tuple(tensor.shape)
        if (dtype, shape) != (sink.dtype, planned):
            expected = f"{sink.dtype} {shown_shape(planned)}"
            fault = f"planned as {expected}, got {dtype} {shown_shape(shape)}; convert it before writing"
            raise _error(self.out, f"tensor {shown(name)}: {fault}")
        if math.prod(planned):
            sink.add(tensor)
        sink.end(note)

    def start(self, name: str, *, part: int | None = None) -> TensorSink:
        """Begin one planned tensor, to write it in pieces of its flat entries; see `write` for the parameters."""
        self._require_open()
        place, key = self._places.get(name), (name, part)
        if place is None or not self._take(place, part):
            fault = "was written already" if place is not None else "is not in the plan"
            raise _error(self.out, f"tensor {shown(name)} {fault}; write every planned tensor once")
        return TensorSink(place, key, self._put, self._end)

    def _end(self, key: Key, checksum: int, note: Mapping[str, object]) -> None:
        self._missing.discard(key)
        if self._journal is not None:
            with files.disk_errors(self.out):
                self._journal.add(key, checksum, note)

    def add_text(self, name: str, text: str) -> None:
        """Write a small text file, UTF-8 with line breaks as they are."""
        self._put(self._new_file(name), memoryview(text.encode()), 0)

    def copy_file(self, source: Path, name: str | None = None) -> None:
        """Copy a regular file, under its own name or another."""
        target = self._new_file(name or source.name)
        with open_regular(source) as file:
            self._put(target, memoryview(b""), 0)
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
            first = shown(next(t.name for t in self.plan.tensors if any(t.name == name for name, _ in self._missing)))
            fault = f"{len(self._missing):,} planned tensors were not written, first {first}; write them all"
            raise _error(self.out, fault)
        index = self.plan.index_text()
        if index is not None:
            self._put(self._temporary / INDEX_NAME, memoryview(index.encode()), 0)
        with files.disk_errors(self.out, needed=self._nbytes):
            for path in sorted(self._temporary.iterdir()):
                _sync_file(path)
            (self._temporary / OWNER_FILE).unlink()
            self._close_journal()
            (self._temporary / JOURNAL_FILE).unlink(missing_ok=True)
            files.sync_folder(self._temporary)
            move_into_place(self._temporary, self.out, overwrite=self._overwrite)
        self._open = False
        return self.out

    def abort(self) -> None:
        """Remove what was written, unless it was finished. May be called more than once."""
        if self._open:
            self._open = False
            self._close_journal()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _leave(self) -> None:
        """Stop, and leave what is written to whoever takes this merge up."""
        if self._open:
            self._open = False
            self._close_journal()
            with contextlib.suppress(OSError):
                (self._temporary / OWNER_FILE).unlink()

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _full_identity(self, identity: str) -> str:
        digest = hashlib.sha256(identity.encode())
        for file, header in self._headers.items():
            digest.update(file.encode() + b"\0" + header)
        return digest.hexdigest()

    def _is_earlier(self, folder: Path) -> bool:
        if self._identity is None:
            return False
        shards = {folder / shard.file: (shard, self._headers[shard.file]) for shard in self.plan.shards}
        return is_continuation(folder, self._identity, shards)

    def _place_tensors(self) -> dict[str, Place]:
        places: dict[str, Place] = {}
        for shard in self.plan.shards:
            offset = len(self._headers[shard.file])
            for tensor in shard.tensors:
                places[tensor.name] = Place(tensor, self._temporary / shard.file, offset)
                offset += tensor.nbytes
        return places

    def _start(self, *, fresh: bool) -> None:
        self._missing = {(name, None) for name in self._places}
        for shard in self.plan.shards if fresh else ():
            header = self._headers[shard.file]
            path = self._temporary / shard.file
            self._put(path, memoryview(header), 0, size=len(header) + shard.nbytes)
        if not fresh:
            self._take_up()
        if self._identity is not None:
            self._journal = Journal(self._temporary, self._identity)

    def _take_up(self) -> None:
        """Believe what an earlier start noted, as far as its bytes bear it out; other files are written anew."""
        kept = {OWNER_FILE, JOURNAL_FILE, *self._headers}
        with files.disk_errors(self.out):
            for path in self._temporary.iterdir():
                if path.name not in kept:
                    path.unlink()
        for key, note in finished(self._temporary, self._places).items():
            if self._take(self._places[key[0]], key[1]):
                self._missing.discard(key)
                self.notes[key] = note

    def _take(self, place: Place, part: int | None) -> bool:
        """Whether a tensor, or that matrix of it, is still to be written; a stack counts by matrices from the first."""
        name, shape = place.tensor.name, place.tensor.shape
        if part is not None and (name, None) in self._missing and shape and 0 <= part < shape[0]:
            self._missing.discard((name, None))
            self._missing |= {(name, number) for number in range(shape[0])}
        return (name, part) in self._missing

    def _new_file(self, name: str) -> Path:
        self._require_open()
        path = self._temporary / name
        if path.parent != self._temporary or name in ("", ".", "..", OWNER_FILE, JOURNAL_FILE) or "\0" in name:
            raise _error(self.out, f"{shown(repr(name))} is no plain file name; use one without folders")
        if name.endswith((".safetensors", ".safetensors.index.json")):
            raise _error(self.out, f"{shown(name)} would pass for weights; use another name")
        if os.path.lexists(path):
            raise _error(self.out, f"{shown(name)} was written already; write every file once")
        return path

    def _put(self, path: Path, data: memoryview, offset: int, size: int | None = None) -> None:
        """Write bytes at a place, after giving the file its size; the system may take them in several steps."""
        with files.disk_errors(self.out, needed=self._nbytes):
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


def _error(out: Path, why: str) -> StoreError:
    return StoreError(f"{shown(out)}: {why}")


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        files.sync(descriptor)
    finally:
        os.close(descriptor)
