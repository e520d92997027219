"""What the app knows, and how it takes over what the disk thread says. It composes nothing and has no keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import App

from globa_tui.tui.disk import Disk
from globa_tui.tui.edits import RecipeEditor
from globa_tui.tui.messages import (
    Answer,
    EffectReady,
    FindingsRead,
    JobsChanged,
    LayerRead,
    LogRead,
    NumbersReady,
    OutputChecked,
    RecipeOpened,
    RecipeRead,
    RecordsChanged,
    RecordsRead,
    Recovered,
    RunOpened,
    SweepRead,
    TextWritten,
    Trouble,
)
from globa_tui.tui.model import RunModel
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.status import JobView

if TYPE_CHECKING:
    from globa_tui.findings import Finding
    from globa_tui.jobs.protocol import Kind
    from globa_tui.jobs.settings import AnalysisRequest
    from globa_tui.recipe import Recipe
    from globa_tui.tui.hidden import Hidden
    from globa_tui.tui.what_if import Etas


class RunApp(App[int]):
    """The state behind all screens.

    Parameters
    ----------
    place : Path
        Run folder or packed file.
    request : AnalysisRequest, optional
        The analysis to start or to join.
    period : float
        Seconds between two looks at the disk.
    """

    def __init__(self, place: Path, request: AnalysisRequest | None, period: float) -> None:
        super().__init__()
        self.model = RunModel(place)
        self.request = request
        self.disk = Disk(place, request, self.post_message, period, lambda: self.last_key)
        self.jobs: Mapping[str, JobView] = {"analyze": JobView("analyze"), "merge": JobView("merge")}
        self.editor: RecipeEditor | None = None
        self.troubles: dict[str, str] = {}
        self.as_of = ""
        """Time of the last look at the run that worked, while none does."""
        self.order: list[int] = []
        """Layers as the table has them, for stepping from one to the next."""
        self.metric = "overlap"
        """Key of the number that the map, and a column of the table, show."""
        self.marks: set[int] = set()
        """Layers that were marked."""
        self.finished: deque[int] = deque(maxlen=100)
        """Layers that were analysed last, the newest at the end."""
        self.findings: Sequence[Finding] | None = None
        """What the run says in words, the weightiest first; None until it was looked through."""
        self.what_if: Etas | None = None
        """Thresholds that all layers are shown at, while those are not the run's own."""
        self.hidden: Hidden | None = None
        """Distances of hidden states, where there are some."""
        self.logs: dict[Kind, str] = {}
        """End of the log of each job, as last read."""
        self.last_words: list[str] = []
        self.last_key = 0.0
        """When the last key came, on the monotonic clock."""

    def _screens(self) -> Iterable[InspectScreen]:
        return [screen for screen in self.screen_stack if isinstance(screen, InspectScreen)]

    def _show_chrome(self) -> None:
        for screen in self._screens():
            screen.show_chrome()

    @on(RunOpened)
    def open_run(self, opened: RunOpened) -> None:
        """Take over a run, or the index of the checkpoints."""
        self.model.load(
            opened.manifest,
            opened.records,
            packed=opened.packed,
            stored=opened.stored,
            numbers=opened.numbers,
            tally=opened.tally,
            share_read=opened.share_read,
        )
        self.marks = {index for index in self.marks if index < len(opened.records)}
        self.order = [index for index in self.order if index < len(opened.records)] or list(range(len(opened.records)))
        self._note_finished(dict(enumerate(opened.records)))
        self.troubles.pop("run", None)
        self.what_if, self.hidden = None, opened.hidden
        self._show_everything()

    @on(RecordsRead)
    def read_on(self, news: RecordsRead) -> None:
        """Take over more of the records of the run that was opened."""
        self.model.read_on(news.portion, news.share_read)
        self._note_finished(dict(zip(news.portion.places, news.portion.records, strict=True)))
        with self.batch_update():
            self._show_everything()

    def _show_everything(self) -> None:
        for screen in self._screens():
            screen.show_chrome()
            screen.show_all()
        if not self.model.reading:
            self._prepare()

    def _note_finished(self, records: Mapping[int, Mapping[str, Any]]) -> None:
        self.finished.extend(index for index, record in records.items() if record["status"] in ("done", "failed"))

    @on(RecordsChanged)
    def fill_in(self, news: RecordsChanged) -> None:
        """Take over layers that finished, or that are shown at other thresholds."""
        self.model.put(news.records)
        if news.new:
            self._note_finished(news.records)
        with self.batch_update():
            for screen in self._screens():
                screen.show_chrome()
                screen.show_records(news.records.keys())

    @on(JobsChanged)
    def follow_jobs(self, news: JobsChanged) -> None:
        """Take over the state of the jobs, and say so when one ended."""
        before, self.jobs = self.jobs, {"analyze": news.analyze, "merge": news.merge}
        for view in self.jobs.values():
            if before[view.kind].active and not view.active:
                self._say_end(view)
        with self.batch_update():
            for screen in self._screens():
                screen.show_chrome()
                screen.show_jobs()

    def _say_end(self, view: JobView) -> None:
        name = "Analysis" if view.kind == "analyze" else "Merge"
        words = {"complete": "is done", "cancelled": "was cancelled", "lost": "gives no sign of life"}
        said = f"{name} {words.get(view.state, 'failed')}" + (f": {view.message}" if view.message else "")
        self.notify(said, markup=False, severity="information" if view.state == "complete" else "error")

    @on(RecipeRead)
    def open_recipe(self, read: RecipeRead) -> None:
        """Start editing with the recipe that was saved, or with the default one."""
        self.editor = RecipeEditor(read.recipe or default_recipe(self.model.path))
        self._show_chrome()
        for screen in self._screens():
            screen.show_all()

    @on(LogRead)
    def keep_log(self, read: LogRead) -> None:
        """Keep the end of a log for all screens that show it."""
        self.logs[read.kind] = read.text
        self.pass_on(read)

    @on(FindingsRead)
    def keep_findings(self, read: FindingsRead) -> None:
        """Keep what the run says in words."""
        self.findings = read.findings
        self.pass_on(read)

    @on(LayerRead)
    @on(OutputChecked)
    @on(RecipeOpened)
    @on(SweepRead)
    def pass_on(self, answer: Answer) -> None:
        """Give an answer to the screens that may have asked."""
        for screen in self._screens():
            screen.show_answer(answer)

    def _prepare(self) -> None:
        """Have everything that takes long for many layers computed ahead."""
        model = self.model
        if missing := model.missing_numbers():
            self.disk.compute(missing, list(model.records), model.version)
        if not model.effect_gathered:
            self.disk.gather_effect(list(model.records), model.tasks, model.anchor, model.version)

    @on(EffectReady)
    def keep_effect(self, ready: EffectReady) -> None:
        """Keep the scalars that estimates need until the recipe asks for them."""
        if self.model.take_effect(ready.table, ready.version):
            self.pass_on(ready)
        else:
            self._prepare()

    @on(NumbersReady)
    def keep_numbers(self, ready: NumbersReady) -> None:
        """Keep metrics until they are shown."""
        if not self.model.take_numbers(ready.numbers, ready.version):
            self._prepare()

    @on(TextWritten)
    def say_where(self, answer: TextWritten) -> None:
        """Say where something was written, or ask whether to replace what is there."""
        from globa_tui.tui.writing import tell_written

        tell_written(self, answer)

    @on(Trouble)
    def show_trouble(self, trouble: Trouble) -> None:
        """Show what went wrong; without any run there is nothing to show it on."""
        if trouble.what == "run" and not self.model.loaded and self.request is None:
            self.last_words = [trouble.text]
            self.exit(return_code=trouble.code)
            return
        self.troubles[trouble.what] = trouble.text
        if trouble.what == "run":
            self.as_of = trouble.as_of
        self._show_chrome()
        self.notify(trouble.text, title=trouble.what, severity="error", markup=False, timeout=8)
        for screen in self._screens():
            screen.show_all()

    @on(Recovered)
    def forget_trouble(self) -> None:
        """The run is up to date again."""
        self.troubles.pop("run", None)
        self._show_chrome()


def default_recipe(path: Path) -> Recipe:
    """The recipe that an unmerged run starts with."""
    from globa_tui.recipe import Recipe

    return Recipe(run=str(path))
