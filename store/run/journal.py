"""Journals of a run: files of one JSON object per line that only grow, such as `evaluations.jsonl`.

A line is there whole or not at all for a reader: what a kill tore, or a stranger wrote, is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from store import files
from store.errors import RunDamagedError
from store.run.summary import dump_record

EVALUATIONS = "evaluations.jsonl"
SWEEPS = "sweeps"

_LIMIT = 1 << 28
"""Bytes of a journal that are read at most."""


def append_journal(path: Path, record: Mapping[str, Any]) -> None:
    """Add one object, and wait until it is on the disk.

    Raises
    ------
    DiskFullError, StoreError
        It could not be written; the journal is as it was.
    """
    files.make_folder(path.parent)
    journal = files.AppendFile(path)
    try:
        # A torn line of an earlier writer must not swallow this one.
        start = b"" if _ends_whole(path) else b"\n"
        journal.append(start + dump_record(dict(record)) + b"\n")
    finally:
        journal.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read every whole object of a journal in order; none when there is no journal.

    Raises
    ------
    RunDamagedError
        It is not a plain file, or larger than any journal.
    """
    try:
        data = files.read_plain(path, _LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        msg = f"{path}: cannot read: {error.strerror or error}"
        raise RunDamagedError(msg) from error
    if len(data) > _LIMIT:
        msg = f"{path}: larger than {_LIMIT:,} bytes, which no journal is; move it away"
        raise RunDamagedError(msg)
    found = (_parsed(line) for line in data[: data.rfind(b"\n") + 1].splitlines())
    return [record for record in found if record is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _ends_whole(path: Path) -> bool:
    with os.fdopen(files.open_plain(path), "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
