"""What the C library does with the memory of large matrices that is freed."""

from __future__ import annotations

import ctypes

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
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    mallopt(_TRIM_THRESHOLD, 2 * _LARGE)
