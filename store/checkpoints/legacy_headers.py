"""List the tensors of legacy ``pytorch_model*.bin`` files as JSON. A program, run in a process of its own.

``python -P legacy_headers.py FILE…`` prints one JSON document: a list with, for each file, ``{"tensors": [[name, dtype,
shape, offset, nbytes], …]}`` or ``{"error": text}``. It needs torch, which the terminal interface must not load, and it
imports nothing else of this package, so that no other module of the same name can take its place.

``offset`` counts through the storages in the order of the file. Tensors that share their bytes share it.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import TypedDict

import torch


class Listing(TypedDict, total=False):
    """What is printed for one file."""

    tensors: list[tuple[str, str, list[int], int, int]]
    error: str


class NotTensorsError(ValueError):
    """A file that is not read, with the reason as a message for people."""


def load(path: Path) -> dict[str, torch.Tensor]:
    """Load a legacy file without running anything in it, mapped where its format allows.

    Raises
    ------
    NotTensorsError
        When it holds anything but named dense tensors that lie within it, or torch is too old to be trusted with it.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        # CVE-2025-32434: before 2.6, weights_only did not keep files from running code.
        message = f"torch {torch.__version__} cannot load such files safely, 2.6 or newer is needed"
        raise NotTensorsError(message)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        try:
            found = torch.load(path, map_location="cpu", mmap=zipped, weights_only=True)
        except pickle.UnpicklingError as error:
            raise _more_than_tensors(str(error)) from error
    if not isinstance(found, dict):
        message = f"holds a {type(found).__name__}, not named tensors"
        raise NotTensorsError(message)
    limit = path.stat().st_size
    for name, tensor in found.items():
        _check(name, tensor, limit)
    return found


def _more_than_tensors(text: str) -> NotTensorsError:
    """Our own words: torch's advise to unpickle the file all the same."""
    asked = re.search(r"GLOBAL ([\w.]{1,100})", text)
    what = f"holds more than tensors (it asks for {asked[1]})" if asked else "holds more than tensors, or is damaged"
    return NotTensorsError(f"{what}, and is never unpickled")


def _check(name: object, tensor: object, limit: int) -> None:
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        message = f"entry {name!r} is a {type(tensor).__name__}, not a tensor"
        raise NotTensorsError(message)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        message = f"tensor {name} is {tensor.layout} on {tensor.device}, not a dense tensor"
        raise NotTensorsError(message)
    # A stride of 0 would let a few bytes claim terabytes.
    if tensor.numel() * tensor.element_size() > limit:
        message = f"tensor {name} {list(tensor.shape)} claims more bytes than the file's {limit:,}"
        raise NotTensorsError(message)


def list_tensors(path: Path) -> Listing:
    """Describe the tensors of one file, or say why that is impossible."""
    try:
        found = load(path)
    except NotTensorsError as error:
        return {"error": str(error)}
    except Exception as error:
        text = str(error).strip().splitlines()
        return {"error": f"{type(error).__name__}: {text[0] if text else 'no further detail'}"}
    begins: dict[int, int] = {}
    end = 0
    rows: list[tuple[str, str, list[int], int, int]] = []
    for name, tensor in found.items():
        storage = tensor.untyped_storage()
        # Addresses differ from run to run; the order of the storages does not.
        begin = begins.setdefault(storage.data_ptr(), end) if storage.nbytes() else end
        end = max(end, begin + storage.nbytes())
        offset = begin + int(tensor.storage_offset()) * tensor.element_size()
        rows.append((name, str(tensor.dtype), list(tensor.shape), offset, tensor.numel() * tensor.element_size()))
    return {"tensors": rows}


if __name__ == "__main__":
    json.dump([list_tensors(Path(name)) for name in sys.argv[1:]], sys.stdout)
