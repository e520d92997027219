"""How a job is seen and steered: its status file, its heartbeat, and the words pause, resume and cancel."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from globa_tui.jobs.progress import Estimator, Listener, Progress
from globa_tui.jobs.protocol import JobStatus, Kind, StatusWriter, clear_control, read_status, take_control
from store.errors import StoreError

HEARTBEAT_SECONDS = 2.0
PAUSE_POLL_SECONDS = 0.25
HOLD_POLL_SECONDS = 2.0


class JobCancelledError(Exception):
    """The job was asked to stop; what it finished is kept."""


class Reporter:
    """Writes a job's status beside the run, tells a listener, and obeys the control file between layers.

    A thread keeps the heartbeat while a long layer is computed. `folder` None reports to the listener alone, for a
    job that has no run folder. Layers may start in several threads: while one waits because the job is paused, the
    others wait as soon as they come to their next layer.
    """

    def __init__(
        self, kind: Kind, folder: Path | None, listener: Listener, beat: Callable[[], None] = lambda: None
    ) -> None:
        self.estimator = Estimator()
        self._kind: Kind = kind
        self._folder, self._listener, self._beat = folder, listener, beat
        self._progress = Progress("starting", 0, 0, 0, 0.0, 0.0)
        self._lock = threading.RLock()
        self._gate = threading.Lock()
        self._ended = threading.Event()
        self._stop_asked = threading.Event()
        self._writer: StatusWriter | None = None
        if folder is not None:
            known = read_status(folder, kind)
            if known is None or known.pid != os.getpid() or known.state != "starting":
                # A word for an earlier job. What came since this process first showed itself is meant for it.
                clear_control(folder, kind)
            try:
                self._writer = StatusWriter(folder, JobStatus.of_this_process(kind))
            except StoreError:
                # A merge needs nothing of the run but to read it: a run that is read-only cannot show its progress.
                if kind != "merge":
                    raise
                self._folder = None
        self._thread = threading.Thread(target=self._keep_heartbeat, name="heartbeat", daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if isinstance(error, JobCancelledError | KeyboardInterrupt):
            self.update(state="cancelled", message="cancelled; what was finished is kept")
        elif error is not None:
            self.update(state="failed", message=str(error) or type(error).__name__)

    @property
    def progress(self) -> Progress:
        """Where the job stands."""
        return self._progress

    def stop(self) -> None:
        """Ask the job to end after the layer in work; safe in a signal handler."""
        self._stop_asked.set()

    def begin(self, total: int, cost: float, done: int = 0, cost_done: float = 0.0, failed: int = 0) -> None:
        """Say how much work there is, and how much of it was done before."""
        self.update(state="running", total=total, cost_total=cost, done=done, cost_done=cost_done, failed=failed)

    def layer_started(self, name: str) -> None:
        """Obey the control file, then say which layer is in work."""
        with self._gate:
            self._obey()
            self.estimator.begin()
        self.update(current=name)

    def hold(self, message: str, may_go_on: Callable[[], bool]) -> bool:
        """Pause until there is what the job lacks; `cancel` ends it as ever.

        Returns
        -------
        bool
            Whether it was told to go on without: `resume` does so at once.
        """
        told = False
        with self._gate:
            self.update(state="paused", message=message)
            while not (told or may_go_on()):
                end = time.monotonic() + HOLD_POLL_SECONDS
                word = None
                while word not in ("resume", "cancel") and time.monotonic() < end:
                    time.sleep(PAUSE_POLL_SECONDS)
                    word = self._word()
                if word == "cancel":
                    raise JobCancelledError
                told = word == "resume"
            self.estimator.rest()
            self.update(state="running", message="")
        return told

    def layer_ended(self, cost: float, *, failed: bool = False, count: int = 1) -> float:
        """Count a layer, or several of this cost together; the seconds since the last ones ended."""
        seconds = self.estimator.end(cost)
        with self._lock:
            now = self._progress
            self.update(
                done=now.done + count * (not failed),
                failed=now.failed + count * failed,
                cost_done=now.cost_done + cost,
                eta_seconds=self.estimator.left(now.cost_total - now.cost_done - cost),
            )
        return seconds

    def complete(self, message: str, output: str | None = None) -> None:
        """Say that the job has ended well."""
        self.update(state="complete", message=message, output=output, eta_seconds=0.0, current=None)

    def update(self, *, output: str | None = None, **changes: Any) -> None:
        """Change the progress; write and tell it."""
        with self._lock:
            self._progress = dataclasses.replace(self._progress, **changes)
            if self._writer is not None:
                extra = {} if output is None else {"output": output}
                self._writer.update(**vars(self._progress), **extra)
            self._listener(self._progress)

    def _obey(self) -> None:
        word = self._word()
        if word == "pause":
            self.update(state="paused")
            while (word := self._word()) not in ("resume", "cancel"):
                time.sleep(PAUSE_POLL_SECONDS)
            self.estimator.rest()
            self.update(state="running")
        if word == "cancel":
            raise JobCancelledError

    def _word(self) -> str | None:
        if self._stop_asked.is_set():
            return "cancel"
        return take_control(self._folder, self._kind) if self._folder is not None else None

    def _keep_heartbeat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                self._beat()
            except StoreError:
                # The lock was taken away: the next write says so, and by whom.
                return
            with self._lock:
                if self._writer is not None:
                    self._writer.update()
