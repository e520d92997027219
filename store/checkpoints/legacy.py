"""Legacy ``pytorch_model*.bin`` files, described by a process of its own so that this one never loads torch."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from store.checkpoints.dtypes import BITS, CODES
from store.checkpoints.files import open_regular
from store.checkpoints.model import SourceFile, TensorHeader
from store.checkpoints.text import shown
from store.errors import CheckpointError

_PROGRAM = Path(__file__).with_name("legacy_headers.py")
_CURE = "name a safetensors version of the model, or fetch it again"


def read_legacy(paths: Sequence[Path]) -> list[tuple[tuple[TensorHeader, ...], SourceFile]]:
    """List the tensors of legacy files; nothing in them is executed (``weights_only``).

    Returns
    -------
    list
        For each file its tensors, in the order of the file, and its identity.

    Raises
    ------
    CheckpointError
        When a file is damaged, holds anything but dense tensors, or asks for code to be run.

    Notes
    -----
    One process start (torch: a few seconds) for all files of a checkpoint. Files are mapped, not read.
    """
    before = [_status(path) for path in paths]
    listings = _run(paths)
    return [_described(path, status, listing) for path, status, listing in zip(paths, before, listings, strict=True)]


def _status(path: Path) -> os.stat_result:
    with open_regular(path) as file:
        return os.fstat(file.fileno())


def _run(paths: Sequence[Path]) -> list[Mapping[str, object]]:
    command = [sys.executable, "-P", str(_PROGRAM), *(str(path.absolute()) for path in paths)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    try:
        listings = json.loads(done.stdout)
    except ValueError as error:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit {done.returncode}"
        raise _broken(paths[0], f"the process that lists its tensors failed ({reason})") from error
    return cast("list[Mapping[str, object]]", listings)


def _described(
    path: Path, status: os.stat_result, listing: Mapping[str, object]
) -> tuple[tuple[TensorHeader, ...], SourceFile]:
    if "error" in listing:
        raise _broken(path, str(listing["error"]))
    rows = cast("list[tuple[str, str, list[int], int, int]]", listing["tensors"])
    tensors = tuple(_tensor(path, *row) for row in rows)
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return tensors, SourceFile(path, status.st_size, status.st_mtime_ns, digest)


def _tensor(path: Path, name: str, dtype: str, shape: list[int], offset: int, nbytes: int) -> TensorHeader:
    code = CODES.get(dtype)
    if code is None or code not in BITS:
        raise _broken(path, f"tensor {name} has the type {dtype}, which safetensors does not know")
    return TensorHeader(name, code, tuple(shape), path, offset, nbytes)


def _broken(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{shown(path)}: {shown(why)}; {_CURE}")
