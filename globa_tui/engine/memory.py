"""How much the stages of a pipeline may hold at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stopped(BaseException):
    """The pipeline ends; no error, and nothing that the handling of a task's errors should see."""


class Memory:
    """Counts what was read, what is computed and what waits to be written; a stage waits while it would be too much.

    Whatever the limit, one task at a time always goes: reading waits only while something is computed or read, and
    computing only while something is computed or waits to be written.

    Parameters
    ----------
    limit : int
        Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.stopped = False
        self._changed = threading.Condition()
        self._read = self._working = self._results = 0
        self._to_come = 0
        """What the work on what was read will take beside it."""

    def wait(self, may: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises
        ------
        Stopped
            The pipeline ends.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or may())
            if self.stopped:
                raise Stopped

    def reading(self, size: int, working: int, may: Callable[[], bool]) -> None:
        """Wait until this much may be read, which takes so much while it is computed, and count it."""
        with self._changed:
            self.wait(lambda: may() and (not (self._read or self._working) or self._fits(size + self._to_come)))
            self._read += size
            self._to_come += working - size

    def computing(self, read: int, working: int) -> None:
        """Wait until something that was read may be computed, and count it as that."""
        with self._changed:
            self.wait(lambda: not (self._working or self._results) or self._fits(working - read))
            self._read -= read
            self._to_come -= working - read
            self._working += working

    def computed(self, working: int, result: int) -> None:
        """Something was computed, and its result waits to be written."""
        self.change(lambda: self._count(-working, result))

    def written(self, result: int) -> None:
        """A result was written, or is none of ours any more."""
        self.change(lambda: self._count(0, -result))

    def all_written(self) -> bool:
        """Whether no result waits."""
        return self._results == 0

    def stop(self) -> None:
        """End all waiting."""
        self.change(lambda: setattr(self, "stopped", True))

    def change(self, how: Callable[[], object]) -> None:
        """Change what others may wait for."""
        with self._changed:
            how()
            self._changed.notify_all()

    def _count(self, working: int, results: int) -> None:
        self._working += working
        self._results += results

    def _fits(self, more: int) -> bool:
        return self._read + self._working + self._results + more <= self.limit
