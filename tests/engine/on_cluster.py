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
class Meeting:
    """Two tasks that end only when both have begun, or fail after a while, and tell on which machine they ran."""

    place: Path

    def open(self, device: str, instead_of: str = "") -> Meet:
        return Meet(self.place)


class Meet(Station):
    def __init__(self, place: Path) -> None:
        self.place = place

    def compute(self, item: int, inputs: int) -> Result:
        import time

        import ray

        (self.place / str(item)).touch()
        end = time.monotonic() + 60
        while not all((self.place / str(number)).exists() for number in (0, 1)):
            if time.monotonic() > end:
                raise SettingsError(f"number {item} waited alone")
            time.sleep(0.02)
        return Result(ray.get_runtime_context().get_node_id())
