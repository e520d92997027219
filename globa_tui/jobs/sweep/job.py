"""The sweep: candidate after candidate, built in memory, measured, kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from globa_tui.diagnostics import UsageError
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.device import resolve_device
from globa_tui.jobs.evaluation.data import read_all
from globa_tui.jobs.evaluation.loading import ModelFolder, load_model, torch_dtype
from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.merge_plan import MergeOptions, MergePlan, plan_merge
from globa_tui.jobs.progress import Listener
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.sweep.candidate import Proposal
from globa_tui.jobs.sweep.judge import Bench, Judge, task_identity
from globa_tui.jobs.sweep.model import SweepModel
from globa_tui.jobs.sweep.results import SweepResults, Trial
from globa_tui.jobs.sweep.search import start_search, trials_of
from globa_tui.jobs.sweep.settings import REQUEST, SweepRequest
from globa_tui.recipe import Recipe
from store import files
from store.run.journal import SWEEPS

BEST = "best.yaml"


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
) -> SweepOutcome:
    """Try candidates until the search has no more; everything measured before is reused.

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
        files.write_atomic(_made(request.run / SWEEPS) / REQUEST, request.to_json().encode())
        sweep = Sweep.open(request)
        outcome = sweep.run(reporter)
        place = request.run / SWEEPS / BEST
        files.write_atomic(place, outcome.recipe.to_yaml().encode())
        best = outcome.best
        reporter.complete(f"best of {len(outcome.results.trials)}: {best.score:.3f} ({best.candidate})", str(place))
        return outcome


class Sweep:
    """Everything that a sweep works with; `open` makes it."""

    def __init__(self, request: SweepRequest, plan: MergePlan, loaded: tuple[Any, Any], device: torch.device) -> None:
        self.request, self.plan, self.device = request, plan, device
        self._loaded = loaded
        self.model = SweepModel(plan, loaded[0], device)
        self.tasks = len(plan.index.fine_tuned)
        self.run_manifest: Mapping[str, Any] = plan.run.manifest if plan.run is not None else {}
        self.tuning = self.bench(request.data, "tune")
        self.testing = self.bench(request.test, "test") if request.test else None

    @classmethod
    def open(cls, request: SweepRequest) -> Sweep:
        """Open the run and its sources, check them, and load the base."""
        if request.run.is_file():
            msg = f"{request.run}: a packed run does not change; name a run folder"
            raise UsageError(msg)
        recipe = Recipe(run=str(request.run), base=request.base, fine_tuned=request.fine_tuned)
        plan = plan_merge(recipe, MergeOptions())
        device = resolve_device(request.settings.device)
        base = plan.index.base
        loaded = load_model(ModelFolder(base.source, base.path), device, torch_dtype(request.settings.dtype, device))
        return cls(request, plan, loaded, device)

    def bench(self, words: tuple[str, ...], purpose: str) -> Bench:
        """A set of tasks with its journal."""
        data = read_all(words)
        chosen = {name: metric for name, metric in self.request.metrics.items() if name in {one.name for one in data}}
        metrics = self.request.metrics if purpose == "tune" else chosen
        judge = Judge(data, metrics, self._loaded, self.request.settings, self.device)
        return Bench(
            self.model, judge, self.request.run, self._identity(task_identity(data)), purpose, self.request.score
        )

    def _identity(self, tasks: list[dict[str, Any]]) -> Mapping[str, Any]:
        """What decides a measurement, besides the candidate."""
        manifest = self.run_manifest
        own = {"bootstrap": None, "level": None, "resamples": None, "seed": None, "max_new_tokens": None}
        settings = {k: v for k, v in self.request.settings.identity().items() if k not in own}
        sources = [[file["header_sha256"] for file in source["files"]] for source in manifest["sources"]]
        return {
            "sources": sources,
            "created": manifest.get("created"),
            "analysis": manifest["settings"],
            "data": tasks,
            "settings": settings,
        }

    def run(self, reporter: Reporter) -> SweepOutcome:
        """Measure the sources, then search."""
        known = self.tuning.known()
        request = self._left()
        sources = (1 + self.tasks) * (2 if self.testing else 1)
        total = sources + trials_of(request, self.tasks) + bool(self.testing)
        reporter.begin(total=total, cost=float(total))
        counter = Counter(reporter)
        self.tuning.measure_sources(self.tasks, counter.start)
        search = start_search(request, self.model.eta, known)
        try:
            proposal = next(search)
            while True:
                proposal = search.send(self._judged(self.tuning, proposal, counter).score)
        except StopIteration:
            pass
        results = self.tuning.results
        best = results.best
        if best is None:
            msg = "the search proposed no candidate"
            raise UsageError(msg)
        if self.testing is not None:
            self.testing.measure_sources(self.tasks, counter.start)
            self._judged(self.testing, Proposal(best.candidate, "winner"), counter)
        counter.stop()
        recipe = best.candidate.recipe(str(self.request.run), self.run_manifest)
        return SweepOutcome(results, best, recipe, self.testing.results if self.testing is not None else None)

    def _judged(self, bench: Bench, proposal: Proposal, counter: Counter) -> Trial:
        return bench.judge(proposal, self.request.search, counter.start(str(proposal.candidate)))

    def _left(self) -> SweepRequest:
        """The request without the tpe trials that an earlier start has made."""
        done = sum(trial.search == "tpe" for trial in self.tuning.results.trials)
        if self.request.search != "tpe" or not done:
            return self.request
        return dataclasses.replace(self.request, trials=max(1, self.request.trials - done))


class Counter:
    """Counts candidates for the reporter, which is obeyed between two batches."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._begun = False

    def start(self, name: str) -> Tick:
        """The next one begins, and the one before has ended."""
        self.stop()
        self._begun = True
        self._reporter.layer_started(name)
        return lambda share: self._reporter.layer_started(name)

    def stop(self) -> None:
        """The last one has ended."""
        if self._begun:
            self._reporter.layer_ended(1.0)
        self._begun = False


def _made(folder: Path) -> Path:
    files.make_folder(folder)
    return folder
