"""What the C library does with the memory of large matrices that is freed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's ``mallopt``."""
_LARGE = 12 << 20
"""Between 1024² in float64, made so often that asking the system for each costs a tenth, and 2048² in float32."""

_LARGE_TASK = 1 << 28
"""Bytes: more than an analysis of 2048² works in."""


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


def make_room(working: int) -> None:
    """Get ready for a task that works in so many bytes.

    Before a large one, what lies free between smaller blocks is given back, and from 1 MiB on blocks go back at once:
    pieces of a layer of 4096² that stayed behind were 140 MB. For a small one the limits of `return_large_blocks` hold.
    """
    trim, mallopt = _of_glibc("malloc_trim"), _of_glibc("mallopt")
    if trim is not None and mallopt is not None:
        if working >= _LARGE_TASK:
            trim(0)
        mallopt(_MMAP_THRESHOLD, _LARGE if working < _LARGE_TASK else 1 << 20)


def _of_glibc(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None
    return found
