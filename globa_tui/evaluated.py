"""What evaluations in a run say of its fine-tunes and of merges made of them. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from globa_tui.diagnostics import ProgramError
from globa_tui.jobs.evaluation.metrics import SCORES, Reference, harmonic_mean, metrics_from, performance
from globa_tui.jobs.sources import sources_of
from globa_tui.recipe import Recipe
from globa_tui.safe_yaml import read as read_text
from store.errors import StoreError
from store.run import Run
from store.run.journal import EVALUATIONS, read_journal

Values = Mapping[str, Mapping[str, float | None]]
"""Value of the deciding metric by model and task."""


@dataclass(frozen=True)
class EvaluatedMerge:
    """A merge of the run's fine-tunes that was evaluated, and whose recipe is known."""

    path: str
    recipe: Recipe
    shares: Mapping[str, float]
    """Of every task, what is kept of the best fine-tune's performance."""

    @property
    def score(self) -> float:
        """Harmonic mean of the shares."""
        return harmonic_mean(self.shares.values())


@dataclass(frozen=True)
class Evaluated:
    """The tasks on which the base and all fine-tunes were evaluated alike, and what was found there."""

    base: Mapping[str, float | None]
    fine_tuned: Sequence[Mapping[str, float | None]]
    metrics: Mapping[str, str]
    """Task to the metric that decides."""
    merges: Sequence[EvaluatedMerge]

    @property
    def best(self) -> EvaluatedMerge | None:
        """The merge of the highest score; of equals the first."""
        return max(self.merges, key=lambda merge: merge.score, default=None)

    def idle(self) -> list[int]:
        """Numbers, from 1, of the fine-tunes that are no better than the base in any task."""
        return [
            number
            for number, values in enumerate(self.fine_tuned, 1)
            if not any(self._gained(values, task) for task in self.metrics)
        ]

    def _gained(self, values: Mapping[str, float | None], task: str) -> bool:
        metric = self.metrics[task]
        return performance(metric, values[task]) > performance(metric, self.base[task])


def read_evaluated(run: Run) -> Evaluated | None:
    """Read the evaluations of a run; None when there is no task on which all of its models were measured.

    Notes
    -----
    Of measurements of one model on one task the last counts. A merge counts when it was measured on all those tasks and
    its folder still holds the recipe that it had then.
    """
    records = [record for record in read_journal(run.path / EVALUATIONS) if _task(record) is not None]
    base, fine_tuned = sources_of(run.manifest)
    values: dict[str, dict[str, float | None]] = {}
    metrics: dict[str, str] = {}
    for record in records:
        task, metric, value = _measured(record)
        if metric:
            metrics[task] = metric
            values.setdefault(record["model"]["path"], {})[task] = value
    tasks = [task for task in metrics if all(task in values.get(path, {}) for path in (base, *fine_tuned))]
    if not tasks:
        return None
    names = _short(tasks)
    found = {path: {names[task]: known[task] for task in tasks if task in known} for path, known in values.items()}
    decide = {names[task]: metrics[task] for task in tasks}
    evaluated = Evaluated(found[base], [found[path] for path in fine_tuned], decide, ())
    times = {record["model"]["path"]: record.get("time") for record in records}
    merges = [
        EvaluatedMerge(path, recipe, _shares(evaluated, known))
        for path, known in found.items()
        if path not in (base, *fine_tuned) and len(known) == len(tasks)
        for recipe in _recipes(Path(path), times[path], run, (base, *fine_tuned))
    ]
    return Evaluated(found[base], evaluated.fine_tuned, decide, merges)


def _task(record: Mapping[str, Any]) -> str | None:
    """What a record is about: name and hash of the data, and how it was measured."""
    model, data = record.get("model"), record.get("data")
    if not isinstance(model, dict) or not isinstance(model.get("path"), str) or not isinstance(data, dict):
        return None
    return json.dumps([str(data.get("name")), str(data.get("sha256")), record.get("settings")], sort_keys=True)


def _measured(record: Mapping[str, Any]) -> tuple[str, str, float | None]:
    """Task, deciding metric and its value; of a file the metric that a sweep takes, otherwise the first."""
    found = {metric.name: metric.value for metric in metrics_from(record)}
    wanted = SCORES.get(str(record["data"].get("kind")), "")
    metric = wanted if wanted in found else next(iter(found), "")
    return str(_task(record)), metric, found.get(metric)


def _short(tasks: Iterable[str]) -> dict[str, str]:
    """Names of tasks as they are shown; a number tells apart what is called alike."""
    names: dict[str, str] = {}
    for task in tasks:
        name = json.loads(task)[0]
        times = sum(one == name or one.startswith(f"{name} (") for one in names.values())
        names[task] = f"{name} ({times + 1})" if times else name
    return names


def _shares(found: Evaluated, values: Mapping[str, float | None]) -> dict[str, float]:
    shares = {}
    for task, metric in found.metrics.items():
        best = max((one[task] for one in found.fine_tuned), key=partial(performance, metric))
        shares[task] = Reference(metric, found.base[task], best).share(values[task], "share")
    return shares


def _recipes(folder: Path, measured: object, run: Run, sources: tuple[str, ...]) -> list[Recipe]:
    """The recipe of a merge, when it is of these sources and no younger than the measurement."""
    path = folder / "globa_recipe.yaml"
    try:
        if path.is_symlink() or path.stat().st_mtime > datetime.fromisoformat(str(measured)).timestamp() + 1:
            return []
        recipe = Recipe.from_yaml(read_text(path), str(path))
    except (StoreError, ProgramError, ValueError, OSError):
        return []
    same_run = recipe.run is not None and Path(recipe.run) == run.path.absolute()
    return [recipe] if same_run or (recipe.base, *recipe.fine_tuned) == sources else []
