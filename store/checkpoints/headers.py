"""The header of a safetensors file, parsed and checked before anything of its size is allocated.

A file is ``u64 n`` (little endian), ``n`` bytes of JSON, then the values. The JSON maps each name to
``{"dtype", "shape", "data_offsets": [begin, end]}``; the ranges must cover the rest of the file without gap or overlap.
"""

from __future__ import annotations

import hashlib
import math
import os
from io import FileIO
from pathlib import Path
from typing import TypeGuard

from store.checkpoints.dtypes import BITS
from store.checkpoints.files import open_regular
from store.checkpoints.json_text import parse_object
from store.checkpoints.model import SourceFile, TensorHeader
from store.checkpoints.text import shown, shown_shape
from store.errors import CheckpointError

MAX_HEADER = 100_000_000
"""Bytes of JSON; the limit of the format's own library."""
MAX_NAME = 1024
"""Characters of a tensor name."""
MAX_AXES = 64
"""Axes of a tensor; torch's own limit."""
MAX_INTEGER = 2**63 - 1

_FETCH = "fetch the file again"


def read_header(path: Path) -> tuple[tuple[TensorHeader, ...], SourceFile]:
    """Read and check the header of one safetensors file.

    Returns
    -------
    tuple of TensorHeader
        In the order of their bytes.
    SourceFile
        What the file was when it was read.

    Raises
    ------
    CheckpointError
        When the file is not exactly what its header says.
    """
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        raw = _header_bytes(file, path, status.st_size)
    tensors = parse_header(raw, path, status.st_size)
    digest = hashlib.sha256(raw).hexdigest()
    return tensors, SourceFile(path, status.st_size, status.st_mtime_ns, digest)


def parse_header(raw: bytes, path: Path, size: int) -> tuple[TensorHeader, ...]:
    """Check the JSON of a header against the size of its file; see `read_header`.

    Parameters
    ----------
    raw : bytes
        The JSON.
    path : Path
        The file it came from.
    size : int
        Bytes of that file.
    """
    start = 8 + len(raw)
    if not raw.startswith(b"{"):
        raise _broken(path, "its header does not start with '{'; this is not a safetensors file, name another")
    entries = parse_object(raw, path, "header")
    _check_metadata(entries.pop("__metadata__", {}), path)
    tensors = [_tensor(name, entry, path, start) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    _check_ranges(tensors, path, start, size)
    return tuple(tensors)


def _header_bytes(file: FileIO, path: Path, size: int) -> bytes:
    if size < 10:
        raise _broken(path, f"{size} bytes are too few for a safetensors file; {_FETCH}")
    length = int.from_bytes(_exactly(file, 8, path), "little")
    if length > size - 8:
        raise _broken(path, f"its header claims {length:,} bytes, the file has {size:,}; {_FETCH}")
    if length > MAX_HEADER:
        raise _broken(path, f"its header claims {length:,} bytes, at most {MAX_HEADER:,} are allowed; {_FETCH}")
    return _exactly(file, length, path)


def _exactly(file: FileIO, count: int, path: Path) -> bytes:
    parts: list[bytes] = []
    missing = count
    while missing:
        part = file.read(missing)
        if not part:
            raise _broken(path, f"ended {missing:,} bytes early while its header was read; {_FETCH}")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _check_metadata(metadata: object, path: Path) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, f"its __metadata__ is not an object of texts; {_FETCH}")


def _tensor(name: str, entry: object, path: Path, start: int) -> TensorHeader:
    _check_name(name, path)
    if not isinstance(entry, dict):
        raise _tensor_error(path, name, "its entry is not an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _tensor_error(path, name, f"its type {dtype!r} is unknown")
    if not _whole_numbers(shape) or len(shape) > MAX_AXES:
        raise _tensor_error(path, name, f"its shape {shape!r} is not a list of at most {MAX_AXES} whole numbers")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise _tensor_error(path, name, f"its data_offsets {offsets!r} are not two whole numbers")
    begin, end = offsets
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        claim = (
            f"{dtype} {shown_shape(tuple(shape))} takes {-(-bits // 8):,} bytes, its data_offsets hold {end - begin:,}"
        )
        raise _tensor_error(path, name, claim)
    return TensorHeader(name, dtype, tuple(shape), path, start + begin, end - begin)


def _whole_numbers(value: object) -> TypeGuard[list[int]]:
    # bool is an int to isinstance, and a JSON true must not pass for 1.
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= MAX_INTEGER for item in value)


def _check_name(name: str, path: Path) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _tensor_error(path, name, "its name is not valid Unicode") from error
    if not 1 <= len(name) <= MAX_NAME:
        raise _broken(path, f"a tensor name has {len(name):,} characters, expected 1 to {MAX_NAME:,}; {_FETCH}")


def _check_ranges(tensors: list[TensorHeader], path: Path, start: int, size: int) -> None:
    end = start
    for tensor in tensors:
        if tensor.offset != end:
            fault = "overlaps the tensor before it" if tensor.offset < end else "leaves a gap before it"
            detail = f"its bytes start at {tensor.offset - start:,}, expected {end - start:,}"
            raise _tensor_error(path, tensor.name, f"{fault} ({detail})")
        end = tensor.offset + tensor.nbytes
        if end > size:
            detail = f"its bytes end at {end:,}, the file has {size:,} and was cut short"
            raise _tensor_error(path, tensor.name, detail)
    if end != size:
        raise _broken(path, f"{size:,} bytes, but its tensors end at {end:,}; {_FETCH}")


def _tensor_error(path: Path, name: str, fault: str) -> CheckpointError:
    shortened = fault if len(fault) <= 300 else fault[:300] + "…"
    return _broken(path, f"tensor {name}: {shortened}; {_FETCH}")


def _broken(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{shown(path)}: {shown(why)}")
