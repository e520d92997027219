"""Counting what a sweep or a comparison has measured, and waiting for the memory that the next one needs."""

from __future__ import annotations

from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.sweep.measurer import Measurer
from globa_tui.jobs.watch import Watch


class Counter:
    """Counts candidates for the reporter, which is obeyed between two batches."""

    def __init__(self, reporter: Reporter, measurer: Measurer) -> None:
        self._reporter, self._measurer = reporter, measurer
        self._watch = Watch(reporter, None, memory=True)
        self._begun = False

    def start(self, name: str) -> Tick:
        """The next one begins, and the one before has ended."""
        self.stop()
        self._begun = True
        self._reporter.layer_started(name)
        self._watch.wait_for_memory(name, self._measurer.needed())
        return lambda share: self._reporter.layer_started(name)

    def stop(self) -> None:
        """The last one has ended."""
        if self._begun:
            self._reporter.layer_ended(1.0)
        self._begun = False
