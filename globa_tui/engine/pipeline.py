"""Read ahead, compute, hand over: the next task is read while one is computed and the one before is written."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from globa_tui.engine.memory import Memory, Stopped
from globa_tui.engine.work import Batch, Sized, Task

Result = TypeVar("Result", bound=Sized)


class Worker(Protocol[Result]):
    """A place where batches are computed; every method but `close` is called in a thread of its own."""

    reads_ahead: bool
    """Whether it reads a batch while one is computed; else the batch is left to whoever is free first."""

    def start(self) -> None:
        """Get the computing thread ready."""
        ...

    def read(self, batch: Batch) -> list[Any]:
        """The inputs of every task."""
        ...

    def compute(self, batch: Batch, inputs: list[Any]) -> list[Result]:
        """The result of every task; takes the inputs off the list."""
        ...

    def interrupt(self) -> bool:
        """Break off what is computed elsewhere; False when the thread itself computes."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Pipeline(Generic[Result]):
    """The results of tasks, as they come; with one worker in order.

    Use it as a context manager and iterate over it once. Where a task fails, what other workers have in hand is still
    handed over before the error is raised. Leaving it early, by an exception of whoever iterates, breaks off what is
    computed.

    Parameters
    ----------
    workers
        Each has a thread that reads and one that computes.
    batches
        Tasks, in order; taken when a worker is free to read them.
    memory
        Bounds what is held at a time.
    starting
        Called in a computing thread before each batch; it may wait, and raise.
    in_step
        Whether a batch of several tasks is handed over before the next one is computed. Small tasks are mostly
        Python, whose threads hold each other up: side by side both stages take half as long again.

    Notes
    -----
    Each worker reads at most one batch ahead. An error of reading is raised after what was read before it is computed.
    """

    def __init__(
        self,
        workers: Sequence[Worker[Result]],
        batches: Iterable[Batch],
        memory: Memory,
        starting: Callable[[Batch], None],
        *,
        in_step: bool = False,
    ) -> None:
        self.memory, self.starting, self.in_step = memory, starting, in_step
        self.done: queue.SimpleQueue[tuple[Batch, list[Result]] | BaseException | None] = queue.SimpleQueue()
        self._batches, self._turn = iter(batches), threading.Lock()
        self._lines = [_Line(self, worker) for worker in workers]

    def __enter__(self) -> Pipeline[Result]:
        for line in self._lines:
            line.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.memory.stop()
        for line in self._lines:
            line.end()

    def __iter__(self) -> Iterator[tuple[Task, Result]]:
        running = len(self._lines)
        failure: BaseException | None = None
        while running:
            found = self.done.get()
            if found is None:
                running -= 1
            elif isinstance(found, BaseException):
                failure = failure or found
                self.memory.stop()
            else:
                size = sum(result.nbytes for result in found[1])
                yield from _handed_over(*found)
                del found
                self.memory.written(size)
        if failure is not None:
            raise failure

    def next_batch(self) -> Batch | None:
        """The next tasks for whoever is free."""
        with self._turn:
            return None if self.memory.stopped else next(self._batches, None)


def _handed_over(batch: Batch, results: list[Result]) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, which nobody else holds."""
    results.reverse()
    for task in batch:
        yield task, results.pop()


def _sizes(batch: Batch) -> tuple[int, int]:
    """Bytes that a batch takes when it was read, and while it is computed."""
    return sum(task.read for task in batch), max(task.working for task in batch)


@contextmanager
def _untold() -> Iterator[None]:
    """Say nothing of a `Stopped` that falls into a callback of Python's, which cannot pass it on."""
    before = sys.unraisablehook

    def report(found: sys.UnraisableHookArgs) -> None:
        if found.exc_type is not Stopped:
            before(found)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = before


class _Line(Generic[Result]):
    """One worker with its two threads."""

    def __init__(self, pipeline: Pipeline[Result], worker: Worker[Result]) -> None:
        self._pipeline, self._memory, self._worker = pipeline, pipeline.memory, worker
        self._ready: deque[tuple[Batch, list[Any] | BaseException] | None] = deque()
        self._computing = False
        self._breakable = False
        self._reader = threading.Thread(target=self._read_all, name="read-ahead", daemon=True)
        self._computer = threading.Thread(target=self._compute_all, name="compute", daemon=True)

    def start(self) -> None:
        self._reader.start()
        self._computer.start()

    def end(self) -> None:
        """Wait until both threads have ended; what is computed now is broken off."""
        if self._breakable and self._computer.is_alive() and not self._worker.interrupt():
            # Raised when the operation of torch that runs now is over, as ctrl-C in the main thread would be.
            identity = ctypes.c_ulong(self._computer.ident or 0)
            with _untold():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Stopped))
                self._computer.join()
        self._computer.join()
        self._reader.join()
        self._worker.close()

    def _read_all(self) -> None:
        try:
            self._memory.wait(self._wants)
            while (batch := self._pipeline.next_batch()) is not None:
                self._memory.reading(*_sizes(batch), self._wants)
                self._hand(batch, self._worker.read(batch))
                self._memory.wait(self._wants)
            self._memory.change(lambda: self._ready.append(None))
        except Stopped:
            pass
        except BaseException as error:
            self._hand((), error)

    def _wants(self) -> bool:
        """Whether it is time for the next batch."""
        return not self._ready and (self._worker.reads_ahead or not self._computing)

    def _hand(self, batch: Batch, inputs: list[Any] | BaseException) -> None:
        self._memory.change(lambda: self._ready.append((batch, inputs)))

    def _compute_all(self) -> None:
        try:
            try:
                self._worker.start()
                while (ready := self._take()) is not None:
                    self._compute(*ready)
            except Stopped:
                pass
            except BaseException as error:
                self._pipeline.done.put(error)
            self._pipeline.done.put(None)
        except Stopped:
            # It came late: whoever sent it waits for this thread alone.
            pass

    def _take(self) -> tuple[Batch, list[Any] | BaseException] | None:
        self._memory.wait(lambda: bool(self._ready))
        taken: list[tuple[Batch, list[Any] | BaseException] | None] = []

        def take() -> None:
            taken.append(self._ready.popleft())
            self._computing = True

        self._memory.change(take)
        return taken[0]

    def _compute(self, batch: Batch, inputs: list[Any] | BaseException) -> None:
        if isinstance(inputs, BaseException):
            raise inputs
        read, working = _sizes(batch)
        self._memory.computing(read, working)
        self._breakable = True
        self._pipeline.starting(batch)
        if self._memory.stopped:
            raise Stopped
        results = self._worker.compute(batch, inputs)
        self._breakable = False
        self._memory.computed(working, sum(result.nbytes for result in results))
        self._pipeline.done.put((batch, results))
        self._memory.change(lambda: setattr(self, "_computing", False))
        if self._pipeline.in_step and len(batch) > 1:
            self._memory.wait(self._memory.all_written)
