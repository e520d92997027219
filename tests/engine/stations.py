"""Work whose steps a test can watch, hold up and break."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from globa_tui.engine.work import Task

SECONDS = 20.0
"""Until a step that waits for another gives up, and the test fails."""


@dataclass
class Number:
    """A result."""

    value: int
    nbytes: int = 0
    place: str = "cpu"


@dataclass
class Watched:
    """Work that squares numbers and notes every step; `on` is called at each, and may wait or raise."""

    on: Callable[[str, int], None] = lambda step, item: None
    nbytes: int = 0
    steps: list[tuple[str, int]] = field(default_factory=list)
    seen: threading.Condition = field(default_factory=threading.Condition)

    def open(self, device: str, instead_of: str = "") -> Station:
        return Station(self, device, instead_of)

    def note(self, step: str, item: int) -> None:
        with self.seen:
            self.steps.append((step, item))
            self.seen.notify_all()
        self.on(step, item)

    def wait(self, step: str, item: int) -> None:
        """Wait until that step was noted."""
        with self.seen:
            assert self.seen.wait_for(lambda: (step, item) in self.steps, SECONDS), f"{step} {item} did not come"


class Station:
    def __init__(self, work: Watched, device: str, instead_of: str) -> None:
        self.work, self.device, self.instead_of = work, device, instead_of

    def read(self, item: int) -> int:
        self.work.note("read", item)
        return item

    def compute(self, item: int, inputs: int) -> Number:
        assert item == inputs
        self.work.note(f"compute on {self.device}" if self.device != "cpu" else "compute", item)
        self.work.note("computed", item)
        return Number(item * item, self.work.nbytes, self.instead_of)

    def close(self) -> None:
        self.work.note("close", -1)


def tasks(count: int, read: int = 0, working: int = 0) -> list[tuple[Task, ...]]:
    return [(Task(number, f"layer {number}", read, working),) for number in range(count)]


CPU = torch.device("cpu")
