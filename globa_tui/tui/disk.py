"""The one thread that touches the disk for the interface, so that a slow disk never holds up a key.

A plain daemon thread rather than a Textual worker: it lives as long as the app, and a mount that hangs must not
hold up leaving.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from globa_tui.diagnostics import exit_code, message
from globa_tui.tui.cleaning import TOGETHER
from globa_tui.tui.follow import RunFollower
from globa_tui.tui.joblink import JobLink, check_output
from globa_tui.tui.messages import (
    EffectReady,
    NumbersReady,
    RecipeOpened,
    RecipeRead,
    RecordsChanged,
    Recovered,
    RunOpened,
    SweepRead,
    TextWritten,
    Trouble,
)
from globa_tui.tui.metrics import numbers_of
from globa_tui.tui.recipe_file import RECIPES, open_recipe, read_recipe, write_recipe

if TYPE_CHECKING:
    from globa_tui.jobs.protocol import Command, Kind
    from globa_tui.jobs.settings import AnalysisRequest
    from globa_tui.recipe import Recipe
    from globa_tui.tui.what_if import Etas

PERIOD = 0.5
SLOWEST = 16
"""Most periods between two looks at a run that cannot be read."""
LEAVE_WITHIN = 3.0
REST = 0.02
"""Seconds of rest between two parts of long work while keys come."""
WHILE = 0.15
"""Seconds after a key, or after a run was opened, for which there is rest between parts."""
Parts = Iterable[Message | None]
"""Answers; None between two parts of long work, where other work and the thread that paints have their turn."""
Task = Callable[[], Parts | None]


class Disk:
    """Reads, watches and writes in one thread, in the order asked for, and answers with messages.

    Parameters
    ----------
    path : Path
        Run folder or packed file.
    request : AnalysisRequest, optional
        The analysis to start or to join; without one nothing is started.
    post : callable
        Takes a message from any thread.
    period : float
        Seconds between two looks at the run and its jobs.
    last_key : callable
        When the last key came, on the monotonic clock.
    """

    def __init__(
        self,
        path: Path,
        request: AnalysisRequest | None,
        post: Callable[[Message], object],
        period: float = PERIOD,
        last_key: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.path = path
        self._request = request
        self._post = post
        self._last_key = last_key
        self._opened = 0.0
        """When a run was opened last."""
        self._period = period
        self._follower = RunFollower(path, request)
        self._jobs = JobLink(self.folder)
        self._queue: queue.SimpleQueue[tuple[str, Task] | None] = queue.SimpleQueue()
        self._wanted_layer: int | None = None
        self._wanted_etas: Etas | None = None
        self._unsaved: Recipe | None = None
        self._told: dict[str, str] = {}
        self._looked = ""
        self._unfinished = 0
        """How many long works were begun and wait for their turn."""
        self._look_at = 0.0
        """When the next look at the run is due."""
        self._slow = 1
        """How many periods to wait for the next look: more after each one that failed."""
        self._thread = threading.Thread(target=self._loop, name="disk", daemon=True)

    @property
    def folder(self) -> Path:
        """Where recipes and the state of jobs are kept: in the run, or beside a packed one."""
        return self.path.with_name(f"{self.path.name}.jobs") if self.path.suffix == ".h5" else self.path

    @property
    def recipe_file(self) -> Path:
        """Where the recipe under edit is kept."""
        return self.folder / RECIPES / "current.yaml"

    def start(self) -> None:
        """Begin: read the run, start or join the analysis, then keep looking."""
        self._ask("recipe", self._load_recipe)
        if self._request is not None:
            self._ask("job", self._begin)
        self._thread.start()

    def stop(self) -> None:
        """Finish what was asked for and end the thread; give up waiting after a few seconds."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(LEAVE_WITHIN)

    def sync(self) -> threading.Event:
        """An event that is set when everything asked for so far is done and posted, and one more look was taken."""
        done = threading.Event()

        def finish() -> None:
            if self._unfinished:
                self._ask("sync", finish)
            else:
                done.set()

        self._ask("run", self._poll)
        self._ask("sync", finish)
        return done

    def read_layer(self, index: int) -> None:
        """Read one layer's arrays; a later call replaces one that still waits."""
        self._wanted_layer = index
        self._ask("layer", lambda: [self._follower.layer(index)] if self._wanted_layer == index else None)

    def compute(self, keys: Sequence[str], records: Sequence[Mapping[str, Any]], version: int) -> None:
        """Compute metrics of all layers, so that showing them later takes no time."""

        def compute() -> Parts:
            found: dict[str, list[float | None]] = {key: [] for key in keys}
            for start in range(0, len(records), TOGETHER):
                part = records[start : start + TOGETHER]
                for key, column in found.items():
                    column += numbers_of(key, part)
                yield None
            yield NumbersReady(found, version)

        self._ask("numbers", compute)

    def gather_effect(self, records: Sequence[Mapping[str, Any]], tasks: int, anchor: int, version: int) -> None:
        """Gather what estimates of a merge need, so that the recipe opens at once."""

        def gather() -> Parts:
            from globa_tui.effect import EffectTable

            table = EffectTable(len(records), tasks, anchor)
            yield from table.gather(records)
            yield EffectReady(table, version)

        self._ask("effect", gather)

    def show_at(self, etas: Etas | None) -> None:
        """Read what layers would be at other thresholds, some at a time; a later call replaces this one."""
        self._wanted_etas = etas
        self._ask("what if", lambda: self._show_at(etas))

    def save_recipe(self, recipe: Recipe) -> None:
        """Keep the recipe beside the run; of several that wait only the last is written."""
        self._unsaved = recipe
        self._ask("recipe", self._save_recipe)

    def open_recipe(self, place: Path) -> None:
        """Read a recipe that a person named."""
        self._ask("recipe", lambda: [self._open_recipe(place)])

    def read_sweep(self) -> None:
        """Read what the last sweep over the run found."""
        self._ask("sweep", lambda: [_read_sweep(self.path)])

    def write_text(self, place: Path, text: Callable[[], str], *, overwrite: bool = False) -> None:
        """Write a text to a file that a person named; one that is there is replaced only on demand."""
        self._ask("recipe", lambda: [_write_text(place, text(), overwrite=overwrite)])

    def check_output(self, out: Path, layers: list[Any], dtype: str | None, sources: Sequence[Any]) -> None:
        """Look at the place where a merge would go, and at what it reads."""
        self._ask("merge", lambda: [check_output(out, layers, dtype, sources)])

    def start_merge(self, recipe: Recipe, out: Path, *, allow_failed: bool = False, overwrite: bool = False) -> None:
        """Write the recipe under the name of the output, and start a merge job with it."""
        place = self.recipe_file.with_name(f"{out.name or 'merged'}.yaml")

        def begin() -> None:
            write_recipe(place, recipe)
            self._jobs.start_merge(place, out, allow_failed=allow_failed, overwrite=overwrite)

        self._ask("job", begin)
        self._ask("run", self._poll)

    def restart(self, request: AnalysisRequest) -> None:
        """Start the analysis again."""
        self._ask("job", lambda: self._jobs.start_analysis(request))
        self._ask("run", self._poll)

    def control(self, kind: Kind, word: Command) -> None:
        """Ask a job to pause, resume or cancel."""
        self._ask("job", lambda: self._jobs.control(kind, word))

    def follow_log(self, kind: Kind | None) -> None:
        """Send the end of that job's log whenever it changes, or stop that."""
        self._jobs.followed = kind

    def _ask(self, what: str, task: Task) -> None:
        self._queue.put((what, task))

    def _loop(self) -> None:
        while (item := self._next()) is not None:
            self._do(*item)

    def _next(self) -> tuple[str, Task] | None:
        """What was asked for first, or a look at the run when that is due."""
        try:
            if (wait := self._look_at - time.monotonic()) > 0:
                return self._queue.get(timeout=wait)
        except queue.Empty:
            pass
        return ("run", self._poll)

    def _do(self, what: str, task: Task) -> None:
        try:
            parts = iter(task() or ())
            for answer in parts:
                if answer is not None:
                    self._post(answer)
                    continue
                self._rest()
                if not self._queue.empty() or time.monotonic() >= self._look_at:
                    self._go_on(what, parts)
                    return
        except Exception as error:  # the interface shows it and lives on
            if what == "run":
                self._slow = min(2 * self._slow, SLOWEST)
            self._tell(Trouble(what, message(error), exit_code(error), self._looked if what == "run" else ""))
        else:
            if self._told.pop(what, None) is not None and what == "run":
                self._post(Recovered())
            if what == "run":
                self._slow, self._looked = 1, time.strftime("%H:%M:%S")
        if what == "run":
            read_on = self._follower.reading and what not in self._told
            self._look_at = time.monotonic() + (0.0 if read_on else self._period * self._slow)

    def _go_on(self, what: str, parts: Parts) -> None:
        """Do the rest of some long work after what was asked for meanwhile."""
        self._unfinished += 1

        def rest() -> Parts:
            self._unfinished -= 1
            return parts

        self._ask(what, rest)

    def _rest(self) -> None:
        """Leave the interpreter to the thread that paints, while that has something to do."""
        if time.monotonic() - max(self._last_key(), self._opened) < WHILE:
            time.sleep(REST)

    def _tell(self, trouble: Trouble) -> None:
        """Post a trouble once, however often a poll runs into it."""
        if self._told.get(trouble.what) != trouble.text:
            self._told[trouble.what] = trouble.text
            self._post(trouble)

    def _poll(self) -> Parts:
        # The job first: a run that it is about to create is no error.
        yield from self._jobs.poll()
        for news in self._follower.poll():
            if isinstance(news, RunOpened):
                self._opened = time.monotonic()
            yield news
        if self._follower.findings_due:
            self._go_on("findings", self._follower.findings())

    def _begin(self) -> Iterable[Message]:
        request, view = self._request, self._jobs.view("analyze")
        if request is None or view.active or view.state == "lost":
            return
        if self._follower.fits and (request.fresh or not self._follower.complete):
            self._jobs.start_analysis(request)
            yield from self._jobs.poll()

    def _show_at(self, etas: Etas | None) -> Iterable[Message]:
        if etas != self._wanted_etas:
            return
        changed, more = self._follower.turn_to(etas)
        if changed:
            yield RecordsChanged(changed, new=False)
        if more:
            self._ask("what if", lambda: self._show_at(etas))

    def _load_recipe(self) -> Iterable[Message]:
        try:
            recipe = read_recipe(self.recipe_file, self.path)
        except Exception:
            yield RecipeRead(None)
            raise
        yield RecipeRead(recipe)

    def _open_recipe(self, place: Path) -> RecipeOpened:
        try:
            recipe, said = open_recipe(place, self.path, self._follower.layers)
        except Exception as error:
            return RecipeOpened(place, None, [message(error)])
        return RecipeOpened(place, recipe, said)

    def _save_recipe(self) -> None:
        recipe, self._unsaved = self._unsaved, None
        if recipe is not None:
            write_recipe(self.recipe_file, recipe)


def _read_sweep(run: Path) -> SweepRead:
    from globa_tui.jobs.sweep.results import find_journals, read_results

    found = (read_results(path) for path in find_journals(run))
    return SweepRead(next((results for results in found if results is not None and results.purpose == "tune"), None))


def _write_text(place: Path, text: str, *, overwrite: bool) -> TextWritten:
    from store import files

    if place.exists() and not overwrite:
        return TextWritten(place, text, refused=True)
    files.write_atomic(place, text.encode(), durable=False)
    return TextWritten(place, text, refused=False)
