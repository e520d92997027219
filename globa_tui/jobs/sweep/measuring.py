"""Who measures the candidates of a sweep: this process, one after another, or an engine, several at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from globa_tui.engine.open import open_engine
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.settings import EngineChoice
from globa_tui.jobs.sweep.bench import Bench
from globa_tui.jobs.sweep.candidate import Candidate, Proposal
from globa_tui.jobs.sweep.cluster import Cluster
from globa_tui.jobs.sweep.counter import Counter
from globa_tui.jobs.sweep.measurer import Job, Measurer, source_names
from globa_tui.jobs.sweep.results import Trial
from globa_tui.jobs.sweep.settings import SweepRequest


class Measuring(Protocol):
    """Measures what a journal does not know, and keeps it there."""

    @property
    def together(self) -> int:
        """How many it measures at a time."""
        ...

    def sources(self, bench: Bench) -> None:
        """The base and the fine-tunes."""
        ...

    def judged(self, bench: Bench, wave: Sequence[Proposal], search: str) -> list[Trial]:
        """What the candidates are worth, in their order."""
        ...


@contextmanager
def measuring(
    measurer: Measurer, request: SweepRequest, engine: EngineChoice, reporter: Reporter
) -> Iterator[Measuring]:
    """Whoever measures with that engine, within the block."""
    if engine.name == "local":
        if engine.threads:
            torch.set_num_threads(engine.threads)
        here = _Here(measurer, reporter)
        yield here
        here.counter.stop()
        return
    with (
        open_engine(engine, request.settings.device) as opened,
        Cluster(opened, request, reporter.layer_started) as cluster,
    ):
        yield _There(measurer, cluster, reporter)


class _Here:
    """In this process, with one model in memory."""

    together = 1

    def __init__(self, measurer: Measurer, reporter: Reporter) -> None:
        self._tasks, self.counter = measurer.tasks, Counter(reporter, measurer)

    def sources(self, bench: Bench) -> None:
        bench.measure_sources(self._tasks, self.counter.start)

    def judged(self, bench: Bench, wave: Sequence[Proposal], search: str) -> list[Trial]:
        return [bench.judge(one, search, self.counter.start(str(one.candidate))) for one in wave]


class _There:
    """On a cluster; this process waits and writes."""

    def __init__(self, measurer: Measurer, cluster: Cluster, reporter: Reporter) -> None:
        self._tasks, self._cluster, self._reporter = measurer.tasks, cluster, reporter
        self.together = cluster.together

    def sources(self, bench: Bench) -> None:
        names = source_names(self._tasks)
        unknown = [name for name in names if name not in bench.results.references]
        self._count(len(names) - len(unknown))
        for job, found in self._cluster.measure([Job(bench.purpose, name) for name in unknown]):
            bench.journal.add_reference(job.name, found.values)
            self._count()

    def judged(self, bench: Bench, wave: Sequence[Proposal], search: str) -> list[Trial]:
        unknown = {one.candidate.key(): one for one in wave if bench.journal.find(one.candidate) is None}
        self._count(len(wave) - len(unknown))
        for job, found in self._cluster.measure([Job(bench.purpose, one.candidate) for one in unknown.values()]):
            assert isinstance(job.show, Candidate), "a candidate was asked for"
            bench.keep(unknown[job.show.key()], search, found)
            self._count()
        trials = [bench.journal.find(one.candidate) for one in wave]
        return [trial for trial in trials if trial is not None]

    def _count(self, candidates: int = 1) -> None:
        for _ in range(candidates):
            self._reporter.layer_ended(1.0)
