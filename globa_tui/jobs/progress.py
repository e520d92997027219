"""Progress of a job by cost, with an honest estimate of the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a job stands; handed to whoever shows it, after every layer and at every change of state."""

    state: str
    total: int
    done: int
    failed: int
    cost_total: float
    cost_done: float
    current: str | None = None
    eta_seconds: float | None = None
    message: str = ""


Listener = Callable[[Progress], None]


def matrix_cost(shape: Sequence[int]) -> float:
    """Work of one layer, in the unit of one multiplication: ``m n min(m, n)`` for a matrix, its size otherwise."""
    size = 1.0
    for side in shape:
        size *= side
    return size * max(min(shape), 1) if len(shape) == 2 else size


class Estimator:
    """Estimates the time left from the pace of recent layers: seconds between their ends, for the cost they had."""

    def __init__(self, recent: int = 20) -> None:
        self._ends: deque[tuple[float, float]] = deque(maxlen=recent)
        self._since: float | None = None

    def begin(self) -> None:
        """A layer starts; time counts from here when nothing was in work."""
        if self._since is None:
            self._since = time.monotonic()

    def rest(self) -> None:
        """Time does not count until the next layer starts."""
        self._since = None

    def elapsed(self) -> float:
        """Seconds since the last layer ended, or the first started."""
        return time.monotonic() - self._since if self._since is not None else 0.0

    def end(self, cost: float) -> float:
        """A layer, or several together, have ended, while others may be in work; the seconds since the last end."""
        seconds = self.elapsed()
        self._since = time.monotonic()
        if cost > 0:
            self._ends.append((seconds, cost))
        return seconds

    def left(self, cost: float) -> float | None:
        """Seconds that work of this cost will take; None before the first layer."""
        seconds, done = (sum(column) for column in zip(*self._ends, strict=True)) if self._ends else (0.0, 0.0)
        return seconds / done * cost if done else None
