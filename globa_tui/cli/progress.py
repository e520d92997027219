"""Progress on stderr: a bar on a terminal, now and then a line elsewhere, nothing when it should be quiet."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from globa_tui.diagnostics import printable
from globa_tui.values import about_time

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from globa_tui.jobs.progress import Progress as JobProgress

SECONDS_BETWEEN_LINES = 10.0


class Display(ABC):
    """Shows how much of a whole is done."""

    things = "layers"
    """What a job counts."""

    _waits = False

    @abstractmethod
    def update(self, done: float, total: float, text: str, *, at_once: bool = False) -> None:
        """Show that `done` of `total` is reached; `text` says where. `at_once` is for what may not be left out."""

    def follow(self, progress: JobProgress) -> None:
        """Show where a job stands."""
        text = f"{progress.done} of {progress.total} {self.things}"
        text += f", {progress.failed} failed" if progress.failed else ""
        if progress.state == "paused":
            text += f", paused: {progress.message}" if progress.message else ", paused until `globa-tui resume`"
        elif progress.eta_seconds:
            text += f", {about_time(progress.eta_seconds)} left"
        waited, self._waits = self._waits, progress.state == "paused"
        if progress.total:
            self.update(progress.cost_done, progress.cost_total, text, at_once=waited != self._waits)


class _Silent(Display):
    def update(self, done: float, total: float, text: str, *, at_once: bool = False) -> None:
        """Show nothing."""


class _Lines(Display):
    """A line at the start, at the end, and in between not more often than every few seconds."""

    def __init__(self, what: str, seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._what = what
        self._seconds = seconds
        self._next = 0.0
        self._last = ""

    def update(self, done: float, total: float, text: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        share = f"{100 * done / total:.0f} %" if total else ""
        line = "  ".join(part for part in (self._what, share, printable(text)) if part)
        if (at_once or now >= self._next or done >= total) and line != self._last:
            self._next = now + self._seconds
            self._last = line
            print(line, file=sys.stderr, flush=True)


class _Bar(Display):
    """A Rich bar."""

    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: float, total: float, text: str, *, at_once: bool = False) -> None:
        self._progress.update(self._task, completed=done, total=total, text=printable(text))


@contextmanager
def display(what: str, *, quiet: bool = False, things: str = "layers") -> Iterator[Display]:
    """A display for the time of a ``with`` block; `things` are what the job counts."""
    with _display(what, quiet=quiet) as shown:
        shown.things = things
        yield shown


@contextmanager
def _display(what: str, *, quiet: bool) -> Iterator[Display]:
    if quiet:
        yield _Silent()
    elif not sys.stderr.isatty():
        yield _Lines(what)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
            yield _Bar(progress, progress.add_task(what, total=None, text=""))


@contextmanager
def counting(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A display for work that counts things: called with how many are done, and how many there are."""
    with display(what, quiet=quiet) as shown:
        yield lambda done, total: shown.update(done, total, f"{done} of {total}")
