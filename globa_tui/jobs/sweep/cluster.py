"""Candidates measured by an engine, several at a time, on other machines too; who calls is the only one that writes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from globa_tui.engine.memory import Memory
from globa_tui.engine.open import Engine
from globa_tui.engine.work import Batch, Task
from globa_tui.jobs.sweep.judge import Measured
from globa_tui.jobs.sweep.measurer import Job, Measurer, on_device
from globa_tui.jobs.sweep.settings import SweepRequest

_PLENTY = 1 << 60


class SweepWork:
    """What a worker opens once for all of its candidates; pickled."""

    def __init__(self, request: SweepRequest) -> None:
        self._request = request.to_json()

    def open(self, device: str, instead_of: str = "") -> _Station:
        """Open run and data; the model is loaded for the first candidate."""
        del instead_of
        return _Station(Measurer(on_device(SweepRequest.from_json(self._request), device)))


class _Station:
    def __init__(self, measurer: Measurer) -> None:
        self._measurer = measurer

    def read(self, item: Job) -> None:
        del item

    def compute(self, item: Job, inputs: None) -> Measured:
        del inputs
        return self._measurer.measure(item)

    def close(self) -> None:
        """Nothing is held open."""


class Cluster:
    """The workers of an engine, which measure until the block ends.

    Parameters
    ----------
    engine
        Entered.
    request
        Run, data and settings, which every worker must see at the same paths.
    starting
        Called before each candidate, in another thread; it may raise to end all.
    """

    def __init__(self, engine: Engine, request: SweepRequest, starting: Callable[[str], None]) -> None:
        self.together = engine.slots
        self._todo: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        batches = iter(self._todo.get, None)
        self._results = engine.run(SweepWork(request), batches, Memory(_PLENTY), lambda batch: starting(batch[0].name))

    def __enter__(self) -> Cluster:
        self._found = iter(self._results.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Readers wait for the next candidate: this is the last.
        self._todo.put(None)
        self._results.__exit__(kind, error, trace)

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Measured]]:
        """Every job with what it was measured at, as they come."""
        for job in jobs:
            self._todo.put((Task(job, job.name),))
        for _ in jobs:
            task, measured = next(self._found)
            yield task.item, measured
