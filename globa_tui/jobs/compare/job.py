"""The comparison: every method at its defaults and over a small budget, built in memory, on the same data."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.merge import METHODS
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.compare.grids import Entry, entries
from globa_tui.jobs.compare.peak import Peak
from globa_tui.jobs.compare.results import Comparison, Line, read_lines
from globa_tui.jobs.compare.settings import COMPARISONS, CompareRequest, write_request
from globa_tui.jobs.compare.shown import layer_values, show_method
from globa_tui.jobs.drift import distance
from globa_tui.jobs.progress import Listener
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.sources import sources_of
from globa_tui.jobs.sweep.bench import Bench
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.counter import Counter
from globa_tui.jobs.sweep.job import Sweep
from globa_tui.jobs.sweep.search import TWO_STAGE_TRIALS, two_stage
from globa_tui.presets import DEFAULT_PRESET, merge_preset
from globa_tui.recipe import Recipe
from store.run.journal import append_journal


@dataclass(frozen=True)
class CompareOutcome:
    """What a comparison found."""

    tuning: Comparison
    winner: Line
    recipe: Recipe
    test: Comparison | None = None
    """Defaults and best of every method on data that chose nothing."""


def run_compare(
    request: CompareRequest,
    listener: Listener = lambda progress: None,
    on_start: Callable[[Reporter], None] = lambda reporter: None,
) -> CompareOutcome:
    """Measure every method; what was measured before is taken from the run.

    Raises
    ------
    UsageError, RunError, CheckpointError, DiskFullError
        As a sweep.
    JobCancelledError
        The job was asked to stop; what was measured is kept.
    """
    run = request.sweep.run
    require_alone(run, "compare")
    with Reporter("compare", run, listener) as reporter:
        on_start(reporter)
        write_request(request)
        outcome = _Comparing(request, Sweep(request.sweep), reporter).run()
        score = outcome.tuning.score(outcome.winner)
        reporter.complete(f"best: {outcome.winner.method} ({outcome.winner.setting}) at {score:.3f}")
        return outcome


class _Comparing:
    """One comparison."""

    def __init__(self, request: CompareRequest, sweep: Sweep, reporter: Reporter) -> None:
        self.request, self.sweep, self.reporter = request, sweep, reporter
        self.counter = Counter(reporter, sweep.measurer)
        tasks = sweep.tasks
        self.entries = [entry for method in METHODS for entry in entries(method, request.budget, tasks)]
        base, self.fine_tuned = sources_of(sweep.measurer.manifest)
        self.base = request.sweep.base or base
        self.fine_tuned = request.sweep.fine_tuned or self.fine_tuned

    def run(self) -> CompareOutcome:
        sweep = self.sweep
        benches = [sweep.tuning, *([sweep.testing] if sweep.testing is not None else [])]
        methods = len({entry.method for entry in self.entries})
        # The paper's candidates and two lines of GLOBA; on test data defaults and best of every method.
        total = len(benches) * (1 + sweep.tasks) + TWO_STAGE_TRIALS + 2 + len(self.entries)
        total += 2 * methods + 2 if sweep.testing is not None else 0
        self.reporter.begin(total=total, cost=float(total))
        for bench in benches:
            bench.measure_sources(sweep.tasks, self.counter.start)
        candidates = {"defaults": Candidate(merge_preset(DEFAULT_PRESET).coefficients)}
        best = self._search()
        if best != candidates["defaults"]:
            candidates[f"best of {len(sweep.tuning.results.trials)}"] = best
        tuning = self._comparison(sweep.tuning, self.entries, candidates)
        chosen = tuning.best()
        winner = max(chosen.values(), key=tuning.score)
        test = None
        if sweep.testing is not None:
            wanted = {(line.method, line.setting) for line in (*tuning.defaults(), *chosen.values())}
            kept = [entry for entry in self.entries if (entry.method, entry.label) in wanted]
            test = self._comparison(sweep.testing, kept, candidates)
        self.counter.stop()
        self.reporter.update(total=self.reporter.progress.done)
        return CompareOutcome(tuning, winner, Recipe.from_dict(winner.recipe), test)

    def _search(self) -> Candidate:
        """The best GLOBA candidate: of the paper's two stages, and of any sweep that was made on the same data."""
        search = two_stage()
        wave = next(search)
        while True:
            scores = [
                self.sweep.tuning.judge(one, "two-stage", self.counter.start(f"globa: {one.candidate}")).score
                for one in wave
            ]
            try:
                wave = search.send(scores)
            except StopIteration:
                break
        best = self.sweep.tuning.results.best
        assert best is not None, "candidates were measured"
        return best.candidate

    def _comparison(self, bench: Bench, chosen: list[Entry], candidates: Mapping[str, Candidate]) -> Comparison:
        lines = [self._globa(bench, setting, candidate) for setting, candidate in candidates.items()]
        lines += [self._method(bench, entry) for entry in chosen]
        results = bench.results
        references = {task: results.reference(task) for task in results.tasks}
        return Comparison(results.tasks, references, self.request.sweep.score, lines)

    def _globa(self, bench: Bench, setting: str, candidate: Candidate) -> Line:
        recipe = candidate.recipe(str(self.request.sweep.run), self.sweep.measurer.manifest)
        return self._line(bench, "globa", setting, recipe, lambda: self._show(candidate))

    def _show(self, candidate: Candidate) -> None:
        self.sweep.model.forget()
        self.sweep.model.show(candidate)

    def _method(self, bench: Bench, entry: Entry) -> Line:
        params: dict[str, Any] = dict(entry.params)
        recipe = Recipe(base=self.base, fine_tuned=self.fine_tuned, method=entry.method, params=params)

        def show() -> None:
            show_method(self.sweep.model, self.sweep.plan.index, recipe, self.sweep.measurer.device)

        return self._line(bench, entry.method, entry.label, recipe, show)

    def _line(self, bench: Bench, method: str, setting: str, recipe: Recipe, show: Callable[[], None]) -> Line:
        journal = self.request.sweep.run / COMPARISONS / bench.journal.path.name
        known = next((line for line in read_lines(journal) if line.recipe == _plain(recipe)), None)
        tick = self.counter.start(f"{method}: {setting}")
        if known is not None:
            return dataclasses.replace(known, setting=setting)
        with Peak(self.sweep.measurer.device) as peak:
            start = time.process_time()
            show()
            seconds = time.process_time() - start
        far = self._drift()
        values = bench.values(tick)
        line = Line(method, setting, values, round(seconds, 3), peak.bytes, far[1], far[0], _plain(recipe))
        append_journal(journal, {"format": 1, **dataclasses.asdict(line)})
        # As it will be read again, in the digits of the journal.
        return next((kept for kept in reversed(read_lines(journal)) if kept.recipe == line.recipe), line)

    def _drift(self) -> tuple[str, float]:
        """The tensor that moved farthest from the base, relative to its norm."""
        farthest = ("", 0.0)
        for values in layer_values(self.sweep.plan.index, self.sweep.measurer.device):
            base = values.whole()[0]
            size = distance(base)
            moved = distance(self.sweep.model.shown(values.layer), base) / size if size else 0.0
            farthest = max(farthest, (values.layer.name, moved), key=lambda pair: pair[1])
        return farthest


def _plain(recipe: Recipe) -> dict[str, Any]:
    return recipe.to_dict()
