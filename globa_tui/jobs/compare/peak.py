"""The memory that a piece of work takes at most."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from types import TracebackType

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Within the block the peak of memory is watched; `bytes` is what came on top of the start, None if unknown.

    On a GPU its allocator is asked, on Linux the kernel. Free memory is given back first; what could not be, and is
    used again in the block, does not show.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        self.bytes: int | None = None

    def __enter__(self) -> Peak:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
            return self
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        try:
            _CLEAR.write_text("5")
            self._before = _resident("VmRSS")
        except (OSError, ValueError):
            self._before = -1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        elif self._before >= 0:
            self.bytes = max(0, _resident("VmHWM") - self._before)


def _resident(key: str) -> int:
    """Bytes of this process, from the kernel."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
