"""Element types of safetensors files: their codes, sizes and torch equivalents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import CheckpointError

if TYPE_CHECKING:
    import torch

#: Bits per element of every code the format defines.
BITS: dict[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}

#: Codes whose values are real numbers that can be subtracted and merged.
FLOATING = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F16", "BF16", "F32", "F64"})

_TORCH_NAMES: dict[str, str] = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
}
CODES: dict[str, str] = {f"torch.{name}": code for code, name in _TORCH_NAMES.items()}
"""Safetensors codes by the text of the torch type, e.g. ``"torch.bfloat16"``."""


def torch_dtype(code: str) -> torch.dtype:
    """Return the torch type of a safetensors code.

    Raises
    ------
    CheckpointError
        When the installed torch has no such type (4- and 6-bit floats, or a torch that is too old).
    """
    import torch

    found = getattr(torch, _TORCH_NAMES.get(code, ""), None)
    if not isinstance(found, torch.dtype):
        message = f"torch {torch.__version__} has no type for {code}; use a newer torch or an unquantised checkpoint"
        raise CheckpointError(message)
    return found
