"""Work that the processes of a Ray cluster can import."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from globa_tui.jobs.settings import SettingsError


@dataclass
class Result:
    value: object
    nbytes: int = 0


class Station:
    def read(self, item: int) -> int:
        return item

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Numbers:
    """Squares numbers, except where it refuses one or dies in its process."""

    refuses: int = -1
    dies: int = -1
    mark: Path | None = None
    times: int = 1
    """How often it dies; every time leaves a letter in `mark`."""

    def open(self, device: str, instead_of: str = "") -> Squares:
        return Squares(self)


class Squares(Station):
    def __init__(self, work: Numbers) -> None:
        self.work = work

    def compute(self, item: int, inputs: int) -> Result:
        if item == self.work.refuses:
            raise SettingsError(f"number {item} is not wanted")
        if item == self.work.dies and self.work.mark is not None:
            died = self.work.mark.read_text() if self.work.mark.exists() else ""
            if len(died) < self.work.times:
                self.work.mark.write_text(died + "x")
                os.kill(os.getpid(), signal.SIGKILL)
        return Result(inputs * inputs)


@dataclass(frozen=True)
class Machines:
    """Tells on which machine it runs, after some time, so that one alone does not do it all."""

    def open(self, device: str, instead_of: str = "") -> Where:
        return Where()


class Where(Station):
    def compute(self, item: int, inputs: int) -> Result:
        import time

        import ray

        time.sleep(0.2)
        return Result(ray.get_runtime_context().get_node_id())
