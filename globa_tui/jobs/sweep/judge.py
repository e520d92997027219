"""Judging candidates on a set of tasks: what was measured once is taken from the journal."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from globa_tui.diagnostics import UsageError
from globa_tui.jobs.evaluation.data import DataSet
from globa_tui.jobs.evaluation.measures import Measure
from globa_tui.jobs.evaluation.metrics import METRICS, SCORES, Score
from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.sweep.candidate import Candidate, Proposal
from globa_tui.jobs.sweep.model import SweepModel
from globa_tui.jobs.sweep.results import SweepJournal, SweepResults, Trial, Values, journal_path


class Judge:
    """Measures the model in memory on all tasks, and keeps what it finds.

    Parameters
    ----------
    data
        The tasks.
    metrics
        By task, the metric it is judged by, where it is not that of its kind.
    loaded
        The model and its tokenizer.
    settings
        How to measure.
    device
        Where the model is.
    """

    def __init__(
        self,
        data: Sequence[DataSet],
        metrics: Mapping[str, str],
        loaded: tuple[Any, Any],
        settings: EvaluationSettings,
        device: torch.device,
    ) -> None:
        self._model, tokenizer = loaded
        longest = getattr(self._model.config, "max_position_embeddings", None) or settings.window
        settings = dataclasses.replace(settings, window=min(settings.window, longest))
        self.metrics = {one.name: _metric(one, metrics) for one in data}
        unknown = set(metrics) - {one.name for one in data}
        if unknown:
            msg = f"--metric names {sorted(unknown)[0]!r}, which is none of the tasks {', '.join(self.metrics)}"
            raise UsageError(msg)
        self._measures = [Measure(one, tokenizer, settings, device) for one in data]

    def values(self, tick: Tick = lambda share: None) -> Values:
        """Every metric of the model as it is now, by task."""
        found = {}
        for measure in self._measures:
            name = measure.data.name

            def part(share: float) -> None:
                tick(share / len(self._measures))

            sums = measure.sums(self._model, part)
            if self.metrics[name] not in sums:
                sums |= measure.generated(self._model)
            found[name] = {metric: one.value for metric, one in sums.items()}
        return found


class Bench:
    """A judge with the journal of its tasks, and the model that becomes one candidate after another."""

    def __init__(
        self,
        model: SweepModel,
        judge: Judge,
        run: Path,
        identity: Mapping[str, Any],
        purpose: str,
        score: Score,
    ) -> None:
        self._model, self._judge = model, judge
        tasks = [{**task, "metric": judge.metrics[task["name"]]} for task in identity["data"]]
        head = {"tasks": tasks, "purpose": purpose, "identity": dict(identity)}
        path = journal_path(run, {**identity, "metrics": judge.metrics, "purpose": purpose})
        self.journal = SweepJournal(path, head, score)

    @property
    def results(self) -> SweepResults:
        """Everything measured so far."""
        return self.journal.results

    def measure_sources(self, tasks: int, tick: Callable[[str], Tick]) -> None:
        """Measure the base and the fine-tunes, which the shares are relative to."""
        shows: dict[str, Callable[[], None]] = {"base": self._model.show_base}
        for number in range(tasks):
            shows[f"fine-tune {number + 1}"] = partial(self._model.show_fine_tuned, number)
        for name, show in shows.items():
            watch = tick(name)
            if name not in self.results.references:
                show()
                self.journal.add_reference(name, self._judge.values(watch))

    def judge(self, proposal: Proposal, search: str, tick: Tick) -> Trial:
        """What a candidate is worth; measured only when the journal does not know it."""
        known = self.journal.find(proposal.candidate)
        if known is not None:
            return known
        start = time.monotonic()
        self._model.show(proposal.candidate)
        built = time.monotonic() - start
        values = self._judge.values(tick)
        about = {"why": proposal.why, "search": search, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        seconds = round(time.monotonic() - start, 3)
        return self.journal.add(proposal.candidate, values, **about, seconds=seconds, build_seconds=round(built, 4))

    def values(self, tick: Tick) -> Values:
        """What the model is worth as it is now; not kept."""
        return self._judge.values(tick)

    def known(self) -> dict[str, tuple[Candidate, float]]:
        """Candidates with their scores, by key."""
        return {trial.candidate.key(): (trial.candidate, trial.score) for trial in self.results.trials}


def task_identity(data: Sequence[DataSet]) -> list[dict[str, Any]]:
    """What tells tasks apart."""
    return [{"name": one.name, "kind": one.kind, "sha256": one.sha256} for one in data]


def _metric(data: DataSet, chosen: Mapping[str, str]) -> str:
    metric = chosen.get(data.name, SCORES[data.kind])
    if metric not in METRICS[data.kind]:
        msg = f"--metric {data.name}={metric}: {data.path} has {', '.join(METRICS[data.kind])}"
        raise UsageError(msg)
    return metric
