"""Progress of a job by cost, with an honest estimate of the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


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
    """Estimates the time left from the speed of recent layers, each weighted by its cost."""

    def __init__(self, recent: int = 20) -> None:
        self._rates: deque[float] = deque(maxlen=recent)
        self._started: float | None = None

    def begin(self) -> None:
        """A layer starts, or the first of several that will end together."""
        if self._started is None:
            self._started = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since what is in work started."""
        return time.monotonic() - self._started if self._started is not None else 0.0

    def end(self, cost: float) -> float:
        """What was in work has ended; its seconds."""
        seconds = self.elapsed()
        self._started = None
        if cost > 0:
            self._rates.append(seconds / cost)
        return seconds

    def left(self, cost: float) -> float | None:
        """Seconds that work of this cost will take; None before the first layer."""
        return median(self._rates) * cost if self._rates else None
