"""What the C library does with the memory of large matrices that is freed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's ``mallopt``."""
_LARGE = 12 << 20
"""Between 1024² in float64, made so often that asking the system for each costs a tenth, and 2048² in float32."""


def return_large_blocks() -> None:
    """Let matrices of 12 MiB and more go back to the system when they are freed; nothing where there is no glibc.

    By itself glibc puts blocks up to the size of the last one that was freed, at most 32 MB, on a heap, where smaller
    ones in between keep it from shrinking: 100 to 240 MB lay idle in merges of 2048² matrices. Once asked for, the
    limits stay as they are for the whole process.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def return_free_blocks() -> None:
    """Give back what lies free between smaller blocks: after a layer of 4096² that was 140 MB. Takes milliseconds."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None
    return found
