"""A set of tasks with the journal of what was measured on them: nothing is measured twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from globa_tui.jobs.evaluation.data import DataSet
from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.sweep.candidate import Candidate, Proposal
from globa_tui.jobs.sweep.judge import Measured
from globa_tui.jobs.sweep.measurer import Job, Measurer, Purpose, source_names
from globa_tui.jobs.sweep.results import SweepJournal, SweepResults, Trial, Values, journal_path
from globa_tui.jobs.sweep.settings import SweepRequest


class Bench:
    """The tuning or the test data of a request, and what was measured on them."""

    def __init__(self, measurer: Measurer, request: SweepRequest, purpose: Purpose) -> None:
        self._measurer = measurer
        self.purpose: Purpose = purpose
        judge, identity = measurer.judges[purpose], _identity(measurer, request, measurer.data[purpose])
        tasks = [{**task, "metric": judge.metrics[task["name"]]} for task in identity["data"]]
        head = {"tasks": tasks, "purpose": purpose, "identity": identity}
        path = journal_path(request.run, {**identity, "metrics": judge.metrics, "purpose": purpose})
        self.journal = SweepJournal(path, head, request.score)

    @property
    def results(self) -> SweepResults:
        """Everything measured so far."""
        return self.journal.results

    def measure_sources(self, tasks: int, tick: Callable[[str], Tick]) -> None:
        """Measure the base and the fine-tunes, which the shares are relative to."""
        for name in source_names(tasks):
            watch = tick(name)
            if name not in self.results.references:
                self.journal.add_reference(name, self._measurer.measure(Job(self.purpose, name), watch).values)

    def judge(self, proposal: Proposal, search: str, tick: Tick) -> Trial:
        """What a candidate is worth; measured only when the journal does not know it."""
        known = self.journal.find(proposal.candidate)
        return known or self.keep(proposal, search, self._measurer.measure(Job(self.purpose, proposal.candidate), tick))

    def keep(self, proposal: Proposal, search: str, found: Measured) -> Trial:
        """Keep what a candidate was measured at."""
        about = {"why": proposal.why, "search": search, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        seconds = {"seconds": found.seconds, "build_seconds": found.build_seconds}
        return self.journal.add(proposal.candidate, found.values, **about, **seconds)

    def values(self, tick: Tick) -> Values:
        """What the model is worth as it is now; not kept."""
        measurer = self._measurer
        return measurer.judges[self.purpose].values(measurer.loaded, measurer.device, tick)

    def known(self) -> dict[str, tuple[Candidate, float]]:
        """Candidates with their scores, by key."""
        return {trial.candidate.key(): (trial.candidate, trial.score) for trial in self.results.trials}


def _identity(measurer: Measurer, request: SweepRequest, data: list[DataSet]) -> dict[str, Any]:
    """What decides a measurement, besides the candidate."""
    manifest = measurer.manifest
    own = {"bootstrap": None, "level": None, "resamples": None, "seed": None, "max_new_tokens": None}
    settings = {k: v for k, v in request.settings.identity().items() if k not in own}
    return {
        "sources": [[file["header_sha256"] for file in source["files"]] for source in manifest["sources"]],
        "created": manifest.get("created"),
        "analysis": manifest["settings"],
        "data": [{"name": one.name, "kind": one.kind, "sha256": one.sha256} for one in data],
        "settings": settings,
    }
