"""What an interrupted merge had finished: a list kept beside the shards, checked byte by byte when it is taken up."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from store import files
from store.merged.plan import OutputTensor, Shard

JOURNAL_FILE = ".journal.jsonl"
_PIECE = 16 * 1024 * 1024

Key = tuple[str, int | None]
"""A tensor, or one matrix of a stack."""


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor lie."""

    tensor: OutputTensor
    path: Path
    offset: int

    def part(self, number: int | None) -> tuple[int, int]:
        """Offset and length of the tensor, or of one matrix of a stack."""
        if number is None:
            return self.offset, self.tensor.nbytes
        length = self.tensor.nbytes // self.tensor.shape[0]
        return self.offset + number * length, length


class Journal:
    """Appends a line for every tensor once its bytes are written.

    Parameters
    ----------
    folder : Path
        The temporary folder.
    identity : str
        What the merge is made of: recipe, sources, plan. Only a merge of equal identity takes the list up.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        path = folder / JOURNAL_FILE
        with files.disk_errors(path):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
            if os.fstat(self._fd).st_size == 0:
                self._append({"identity": identity})
            else:
                # A line that was torn off must not swallow the next one.
                files.append_some(self._fd, memoryview(b"\n"))

    def add(self, key: Key, checksum: int, note: Mapping[str, object]) -> None:
        """Note that a tensor is complete; `note` is handed back when the merge is taken up."""
        self._append({"tensor": key[0], "part": key[1], "crc32": checksum, "note": dict(note)})

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, entry: Mapping[str, object]) -> None:
        line = memoryview((json.dumps(entry, separators=(",", ":")) + "\n").encode())
        while line:
            line = line[files.append_some(self._fd, line) :]


def is_continuation(folder: Path, identity: str, shards: Mapping[Path, tuple[Shard, bytes]]) -> bool:
    """Whether a temporary folder is an earlier start of the same merge: its list says so, and every shard is there.

    Parameters
    ----------
    folder : Path
        The folder.
    identity : str
        Of this merge.
    shards : mapping
        By path in that folder: the shard and its header.
    """
    lines = _lines(folder)
    if not lines or lines[0].get("identity") != identity:
        return False
    for path, (shard, header) in shards.items():
        try:
            with path.open("rb") as file:
                whole = os.fstat(file.fileno()).st_size == len(header) + shard.nbytes
                if path.is_symlink() or not whole or file.read(len(header)) != header:
                    return False
        except OSError:
            return False
    return True


def finished(folder: Path, places: Mapping[str, Place]) -> dict[Key, Mapping[str, object]]:
    """Read which tensors are complete; one whose bytes do not have the noted checksum is not.

    Returns
    -------
    dict
        The note of each complete tensor.
    """
    found: dict[Key, Mapping[str, object]] = {}
    for entry in _lines(folder)[1:]:
        name, part, checksum, note = (entry.get(key) for key in ("tensor", "part", "crc32", "note"))
        place = places.get(str(name))
        if place is None or not isinstance(part, int | None) or not isinstance(note, dict):
            continue
        if part is not None and not (place.tensor.shape and 0 <= part < place.tensor.shape[0]):
            continue
        if _checksum(place.path, *place.part(part)) == checksum:
            found[place.tensor.name, part] = note
    return found


def _checksum(path: Path, offset: int, length: int) -> int | None:
    value = 0
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while length:
                piece = file.read(min(_PIECE, length))
                if not piece:
                    return None
                value, length = zlib.crc32(piece, value), length - len(piece)
    except OSError:
        return None
    return value


def _lines(folder: Path) -> list[dict[str, object]]:
    path = folder / JOURNAL_FILE
    entries: list[dict[str, object]] = []
    if path.is_symlink() or not path.is_file():
        return entries
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries
