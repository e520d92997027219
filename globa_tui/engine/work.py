"""What an engine is given: work, which any worker can open, and tasks, which say what they cost and take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result", bound="Sized", covariant=True)


@dataclass(frozen=True)
class Task:
    """One piece of work."""

    item: Any
    """What the station is told, such as the number of a layer; small, for it travels."""
    name: str
    read: int = 0
    """Bytes of its inputs in the memory of the machine that reads them."""
    working: int = 0
    """Bytes that computing it takes in that memory, inputs included."""


Batch = tuple[Task, ...]
"""Tasks that go through an engine together, because each alone is small."""


class Sized(Protocol):
    """A result, which can be pickled and lies in the memory of the processor."""

    @property
    def nbytes(self) -> int:
        """Bytes it takes until it is written."""
        ...


class Station(Protocol[Result]):
    """Work opened at one place: a thread reads, another computes."""

    def read(self, item: Any) -> Any:
        """Bring in the inputs of a task."""
        ...

    def compute(self, item: Any, inputs: Any) -> Result:
        """Carry out a task on its inputs."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class Work(Protocol[Result]):
    """What is done with every task; pickled to other machines, and opened there."""

    def open(self, device: str, instead_of: str = "") -> Station[Result]:
        """Open it on a device: `cpu`, `cuda` or `cuda:N`; `instead_of` names one whose memory did not suffice."""
        ...


def batches(tasks: Iterable[Task], most: int, nbytes: int) -> Iterator[Batch]:
    """Consecutive tasks together, at most so many, and working in at most so many bytes if more than one."""
    batch: list[Task] = []
    size = 0
    for task in tasks:
        if batch and (len(batch) >= most or size + task.working > nbytes):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(task)
        size += task.working
    if batch:
        yield tuple(batch)
