"""Measuring the model in memory on a set of tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from globa_tui.diagnostics import UsageError
from globa_tui.jobs.evaluation.data import DataSet
from globa_tui.jobs.evaluation.measures import Measure
from globa_tui.jobs.evaluation.metrics import METRICS, SCORES
from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.sweep.results import Values


@dataclass(frozen=True)
class Measured:
    """What a merge was measured at; small, and pickled where another machine measures."""

    values: Values
    seconds: float
    build_seconds: float
    nbytes: int = 0


class Judge:
    """Measures the model in memory on all tasks.

    Parameters
    ----------
    data
        The tasks.
    metrics
        By task, the metric it is judged by, where it is not that of its kind.
    settings
        How to measure.
    """

    def __init__(self, data: Sequence[DataSet], metrics: Mapping[str, str], settings: EvaluationSettings) -> None:
        self._data, self._settings = data, settings
        self.metrics = {one.name: _metric(one, metrics) for one in data}
        unknown = set(metrics) - {one.name for one in data}
        if unknown:
            msg = f"--metric names {sorted(unknown)[0]!r}, which is none of the tasks {', '.join(self.metrics)}"
            raise UsageError(msg)
        self._measures: list[Measure] = []

    def values(self, loaded: tuple[Any, Any], device: torch.device, tick: Tick = lambda share: None) -> Values:
        """Every metric of a model as it is now, by task; the tasks are tokenized once, for the first one."""
        model, tokenizer = loaded
        if not self._measures:
            longest = getattr(model.config, "max_position_embeddings", None) or self._settings.window
            settings = dataclasses.replace(self._settings, window=min(self._settings.window, longest))
            self._measures = [Measure(one, tokenizer, settings, device) for one in self._data]
        found = {}
        for measure in self._measures:
            name = measure.data.name

            def part(share: float) -> None:
                tick(share / len(self._measures))

            sums = measure.sums(model, part)
            if self.metrics[name] not in sums:
                sums |= measure.generated(model)
            found[name] = {metric: one.value for metric, one in sums.items()}
        return found


def _metric(data: DataSet, chosen: Mapping[str, str]) -> str:
    metric = chosen.get(data.name, SCORES[data.kind])
    if metric not in METRICS[data.kind]:
        msg = f"--metric {data.name}={metric}: {data.path} has {', '.join(METRICS[data.kind])}"
        raise UsageError(msg)
    return metric
