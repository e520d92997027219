"""Computing on the devices of this machine, each with a worker of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import torch

from globa_tui.engine.allocator import make_room, return_large_blocks
from globa_tui.engine.devices import is_out_of_memory
from globa_tui.engine.memory import Memory
from globa_tui.engine.pipeline import Pipeline
from globa_tui.engine.work import Batch, Sized, Station, Task, Work

Result = TypeVar("Result", bound=Sized)

MOST_SHARING = 4
"""Workers that share a processor: each takes memory, and soon reading takes longer than what they compute."""


class LocalEngine:
    """Runs work on devices of this machine.

    Parameters
    ----------
    devices
        One worker each; naming `cpu` twice gives two workers that share the processor.
    threads
        Of all workers together; 0 leaves torch its own choice.
    warn
        Told when a task moves to the processor because a device's memory did not suffice.
    """

    def __init__(
        self, devices: Sequence[torch.device], threads: int = 0, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self.devices, self._warn = tuple(devices), warn
        self._before = torch.get_num_threads()
        self._threads = threads or self._before

    @property
    def device(self) -> str:
        """What it computes on, for results that depend on it."""
        return self.devices[0].type

    @property
    def slots(self) -> int:
        """How many tasks it computes at a time: one on each device."""
        return len(self.devices)

    def most(self, together: int) -> int:
        """How many tasks to take together where the caller would take so many."""
        return together

    def __enter__(self) -> LocalEngine:
        # Float32 products must be float32 products; what reads this variable also drives TF32.
        torch.set_float32_matmul_precision("highest")
        return_large_blocks()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Some of torch's libraries count for the whole process, not for the thread that asked.
        torch.set_num_threads(self._before)

    def run(
        self,
        work: Work[Result],
        batches: Iterable[Batch],
        memory: Memory,
        starting: Callable[[Batch], None] = lambda batch: None,
        *,
        shares: bool = False,
    ) -> Pipeline[Result]:
        """The pipeline that carries out `work` on every task, to be entered and iterated over.

        Where a task `shares` the processor, several workers of one thread each take its place.
        """
        devices = list(self.devices)
        if shares and [device.type for device in devices] == ["cpu"]:
            devices *= min(self._threads, MOST_SHARING)
        each = max(1, self._threads // len(devices))
        workers = [LocalWorker(work, device, each, self._warn) for device in devices]
        return Pipeline(workers, batches, memory, starting, in_step=len(workers) == 1)


class LocalWorker(Generic[Result]):
    """One device. What does not fit beside the rest of its batch is tried alone, then computed on the processor."""

    reads_ahead = True

    def __init__(self, work: Work[Result], device: torch.device, threads: int, warn: Callable[[str], None]) -> None:
        self._work, self._device, self._threads, self._warn = work, device, threads, warn
        self._station: Station[Result] = work.open(str(device))

    def start(self) -> None:
        """Choose device and threads, which are those of the calling thread."""
        torch.set_num_threads(self._threads)
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def read(self, batch: Batch) -> list[Any]:
        return [self._station.read(task.item) for task in batch]

    def compute(self, batch: Batch, inputs: list[Any]) -> list[Result]:
        inputs.reverse()
        results: list[Result] = []
        for task in batch:
            make_room(task.working)
            result = self._fitting(task, inputs.pop()) if inputs else None
            if result is None and len(batch) > 1:
                # The inputs of the tasks behind it take memory too: from here on each is read when its turn comes.
                inputs.clear()
                result = self._alone(task, self._device)
            if result is None:
                self._warn(f"{task.name}: out of memory on {self._device}; computed on the CPU instead")
                result = self._alone(task, torch.device("cpu"))
            results.append(cast("Result", result))
        return results

    def _fitting(self, task: Task, given: Any, station: Station[Result] | None = None) -> Result | None:
        """The result, or None when the device's memory does not suffice."""
        try:
            return (station or self._station).compute(task.item, given)
        except Exception as error:
            if self._device.type == "cpu" or not is_out_of_memory(error):
                raise
        # Outside of the handler, for the error holds the frames that hold the tensors.
        return None

    def _alone(self, task: Task, device: torch.device) -> Result | None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        spare = self._work.open(str(device), instead_of=str(self._device) if device.type == "cpu" else "")
        try:
            given = spare.read(task.item)
            return spare.compute(task.item, given) if device.type == "cpu" else self._fitting(task, given, spare)
        finally:
            spare.close()

    def interrupt(self) -> bool:
        return False

    def close(self) -> None:
        self._station.close()
