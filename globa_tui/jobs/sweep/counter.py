"""Counting what a sweep or a comparison has measured."""

from __future__ import annotations

from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.reporter import Reporter


class Counter:
    """Counts candidates for the reporter, which is obeyed between two batches."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._begun = False

    def start(self, name: str) -> Tick:
        """The next one begins, and the one before has ended."""
        self.stop()
        self._begun = True
        self._reporter.layer_started(name)
        return lambda share: self._reporter.layer_started(name)

    def stop(self) -> None:
        """The last one has ended."""
        if self._begun:
            self._reporter.layer_ended(1.0)
        self._begun = False
