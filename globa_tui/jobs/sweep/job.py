"""The sweep: candidate after candidate, built in memory, measured, kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from globa_tui.diagnostics import UsageError
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.merge_plan import MergePlan
from globa_tui.jobs.progress import Listener
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.settings import EngineChoice
from globa_tui.jobs.sweep.bench import Bench
from globa_tui.jobs.sweep.candidate import Proposal
from globa_tui.jobs.sweep.measurer import Measurer
from globa_tui.jobs.sweep.measuring import Measuring, measuring
from globa_tui.jobs.sweep.model import SweepModel
from globa_tui.jobs.sweep.results import SweepResults, Trial
from globa_tui.jobs.sweep.search import start_search, trials_of
from globa_tui.jobs.sweep.settings import SweepRequest, write_request
from globa_tui.recipe import Recipe
from store import files
from store.run.journal import SWEEPS

BEST = "best.yaml"
_HERE = EngineChoice()


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep found."""

    results: SweepResults
    best: Trial
    recipe: Recipe
    test: SweepResults | None = None
    """The sources and the winner on data that the search never saw, when such was given."""


def run_sweep(
    request: SweepRequest,
    listener: Listener = lambda progress: None,
    on_start: Callable[[Reporter], None] = lambda reporter: None,
    engine: EngineChoice = _HERE,
) -> SweepOutcome:
    """Try candidates until the search has no more; everything measured before is reused.

    With `engine` ray several are measured at a time, by a cluster; this process alone writes what they give.

    Raises
    ------
    UsageError, SettingsError
        The request does not fit the run or the data.
    RunError, CheckpointError, DiskFullError
        The run or a source cannot be used, or the disk is full.
    JobCancelledError
        The job was asked to stop; what was measured is kept.
    """
    require_alone(request.run, "sweep")
    with Reporter("sweep", request.run, listener) as reporter:
        on_start(reporter)
        write_request(request)
        outcome = Sweep(request).run(reporter, engine)
        place = request.run / SWEEPS / BEST
        files.write_atomic(place, outcome.recipe.to_yaml().encode())
        best = outcome.best
        reporter.complete(f"best of {len(outcome.results.trials)}: {best.score:.3f} ({best.candidate})", str(place))
        return outcome


class Sweep:
    """A request with what it is measured with, and the journals of its data."""

    def __init__(self, request: SweepRequest) -> None:
        self.request = request
        self.measurer = Measurer(request)
        self.tasks = self.measurer.tasks
        self.tuning = Bench(self.measurer, request, "tune")
        self.testing = Bench(self.measurer, request, "test") if request.test else None

    @property
    def model(self) -> SweepModel:
        """The base in memory, as it is now."""
        return self.measurer.model

    @property
    def plan(self) -> MergePlan:
        """The merge that is varied."""
        return self.measurer.plan

    def run(self, reporter: Reporter, engine: EngineChoice = _HERE) -> SweepOutcome:
        """Measure the sources, then search."""
        request = self._left()
        sources = (1 + self.tasks) * (2 if self.testing else 1)
        total = sources + trials_of(request, self.tasks) + bool(self.testing)
        reporter.begin(total=total, cost=float(total))
        with measuring(self.measurer, request, engine, reporter) as here_or_there:
            return self._searched(request, here_or_there)

    def _searched(self, request: SweepRequest, measuring: Measuring) -> SweepOutcome:
        known = self.tuning.known()
        measuring.sources(self.tuning)
        search = start_search(request, self.measurer.eta, known, measuring.together)
        try:
            wave = next(search)
            while True:
                trials = measuring.judged(self.tuning, wave, request.search)
                wave = search.send([trial.score for trial in trials])
        except StopIteration:
            pass
        results = self.tuning.results
        best = results.best
        if best is None:
            msg = "the search proposed no candidate"
            raise UsageError(msg)
        if self.testing is not None:
            measuring.sources(self.testing)
            measuring.judged(self.testing, [Proposal(best.candidate, "winner")], request.search)
        recipe = best.candidate.recipe(str(request.run), self.measurer.manifest)
        return SweepOutcome(results, best, recipe, self.testing.results if self.testing is not None else None)

    def _left(self) -> SweepRequest:
        """The request without the tpe trials that an earlier start has made."""
        done = sum(trial.search == "tpe" for trial in self.tuning.results.trials)
        if self.request.search != "tpe" or not done:
            return self.request
        return dataclasses.replace(self.request, trials=max(1, self.request.trials - done))
