"""The evaluation: model after model, each loaded once, on everything that was not yet measured."""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch

from globa_tui.jobs.client import require_alone
from globa_tui.jobs.device import resolve_device
from globa_tui.jobs.evaluation.command import OwnCommand
from globa_tui.jobs.evaluation.data import DataSet, read_all
from globa_tui.jobs.evaluation.harness import run_harness, task_hash
from globa_tui.jobs.evaluation.loading import ModelFolder, find_model, load_model, loaded_bytes, model_hash, torch_dtype
from globa_tui.jobs.evaluation.measures import Measure, measure
from globa_tui.jobs.evaluation.metrics import Metric, metrics_from
from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.evaluation.settings import EvaluationRequest, EvaluationSettings
from globa_tui.jobs.progress import Listener
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.sources import versions
from globa_tui.jobs.watch import Watch
from store.run.journal import EVALUATIONS, append_journal, read_journal

FORMAT = 1


@dataclass(frozen=True)
class Measurement:
    """One model on one task."""

    model: str
    task: str
    kind: str
    metrics: Mapping[str, Metric]
    record: Mapping[str, Any]
    """As it is kept in the store."""
    known: bool = False
    """Whether an earlier evaluation had measured it."""


class _Task(Protocol):
    """Something that a model is measured on."""

    @property
    def name(self) -> str:
        """Name of the task."""
        ...

    @property
    def kind(self) -> str:
        """Kind of the data."""
        ...

    @property
    def cost(self) -> float:
        """Work, in characters."""
        ...

    def identity(self) -> dict[str, Any]:
        """What stands in a record as the data."""
        ...

    def run(self, model: _Model, tick: Tick) -> Mapping[str, Metric]:
        """Measure."""
        ...


class _Model:
    """A model that is loaded when it is first needed."""

    def __init__(self, folder: ModelFolder, request: EvaluationRequest, device: torch.device, watch: Watch) -> None:
        self.folder, self.request, self.device, self._watch = folder, request, device, watch
        self._loaded: tuple[Any, Any] | None = None

    @property
    def loaded(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        if self._loaded is None:
            dtype = torch_dtype(self.request.settings.dtype, self.device)
            trust = self.request.trust_remote_code
            self._watch.wait_for_memory(self.folder.source, loaded_bytes(self.folder, dtype))
            self._loaded = load_model(self.folder, self.device, dtype, trust_remote_code=trust)
        return self._loaded

    @property
    def settings(self) -> EvaluationSettings:
        """The settings, with a window that the model takes."""
        config = self.loaded[0].config
        longest = getattr(config, "max_position_embeddings", None) or self.request.settings.window
        return dataclasses.replace(self.request.settings, window=min(self.request.settings.window, longest))


@dataclass(frozen=True)
class _FileTask:
    data: DataSet

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def kind(self) -> str:
        return self.data.kind

    @property
    def cost(self) -> float:
        return float(self.data.size)

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "path": str(self.data.path), "sha256": self.data.sha256}

    def run(self, model: _Model, tick: Tick) -> Mapping[str, Metric]:
        loaded, tokenizer = model.loaded
        made = Measure(self.data, tokenizer, model.settings, model.device)
        return measure(made, loaded, model.settings, tick)


@dataclass(frozen=True)
class _HarnessTask:
    name: str
    sha256: str
    tasks_from: Path | None
    kind: str = "lm-eval"
    cost: float = 1e5

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "path": None, "sha256": self.sha256}

    def run(self, model: _Model, tick: Tick) -> Mapping[str, Metric]:
        tick(0.0)
        loaded, tokenizer = model.loaded
        download = model.request.download
        found = run_harness(self.name, self.tasks_from, loaded, tokenizer, model.settings, download=download)
        tick(1.0)
        return found


@dataclass(frozen=True)
class _CommandTask:
    command: OwnCommand
    kind: str = "command"
    cost: float = 1e5

    @property
    def name(self) -> str:
        return self.command.name

    def identity(self) -> dict[str, Any]:
        words = list(self.command.words)
        return {"kind": self.kind, "name": self.name, "path": None, "sha256": self.command.sha256(), "words": words}

    def run(self, model: _Model, tick: Tick) -> Mapping[str, Metric]:
        tick(0.0)
        found = self.command.run(model.folder.path)
        tick(1.0)
        return found


def run_evaluation(
    request: EvaluationRequest,
    listener: Listener = lambda progress: None,
    on_start: Callable[[Reporter], None] = lambda reporter: None,
) -> list[Measurement]:
    """Measure every model on every task that the store does not know yet.

    Raises
    ------
    UsageError, CheckpointError, CommandError, HarnessError
        Data, a model or a program cannot be used. What was measured before is kept in the store.
    RunBusyError, DiskFullError
        Another evaluation writes there, or the disk is full.
    JobCancelledError
        The job was asked to stop.
    """
    if request.store is not None:
        require_alone(request.store, "evaluate")
    with Reporter("evaluate", request.store, listener) as reporter:
        on_start(reporter)
        tasks = _tasks(request)
        models = [find_model(source, download=request.download) for source in request.models]
        device = resolve_device(request.settings.device)
        job = _Evaluation(request, tasks, reporter, device)
        found = job.run(models)
        new = sum(not measurement.known for measurement in found)
        reporter.complete(f"{new} measurements, {len(found) - new} known before")
        return found


def _tasks(request: EvaluationRequest) -> list[_Task]:
    tasks: list[_Task] = [_FileTask(data) for data in read_all(request.data)]
    tasks += [_HarnessTask(t, task_hash(t, request.tasks_from), request.tasks_from) for t in request.tasks]
    return [*tasks, *(_CommandTask(OwnCommand.parse(text)) for text in request.commands)]


class _Evaluation:
    """One pass over the models."""

    def __init__(
        self, request: EvaluationRequest, tasks: Sequence[_Task], reporter: Reporter, device: torch.device
    ) -> None:
        self.request, self.tasks, self.reporter, self.device = request, tasks, reporter, device
        self.watch = Watch(reporter, None, memory=True)
        self.journal = request.store / EVALUATIONS if request.store is not None else None
        records = read_journal(self.journal) if self.journal is not None and not request.fresh else []
        self.known = {_key(record): record for record in records}

    def run(self, folders: Sequence[ModelFolder]) -> list[Measurement]:
        cost = sum(task.cost for task in self.tasks)
        self.reporter.begin(total=len(folders) * len(self.tasks), cost=len(folders) * cost)
        found = []
        for folder in folders:
            self.reporter.layer_started(folder.source)
            model = _Model(folder, self.request, self.device, self.watch)
            digest = model_hash(folder.path)
            found += [self._measured(task, model, digest) for task in self.tasks]
            del model
            gc.collect()
        return found

    def _measured(self, task: _Task, model: _Model, digest: str) -> Measurement:
        source = model.folder.source
        head = {
            "format": FORMAT,
            "model": {"source": source, "path": str(model.folder.path.absolute()), "sha256": digest},
            "data": task.identity(),
            "settings": self.request.settings.identity(),
        }
        before = self.known.get(_key(head))
        if before is not None:
            self.reporter.layer_ended(task.cost)
            metrics = {metric.name: metric for metric in metrics_from(before)}
            return Measurement(source, task.name, task.kind, metrics, before, known=True)

        def tick(share: float) -> None:
            self.reporter.layer_ended(share * task.cost, count=0)
            self.reporter.layer_started(f"{source}: {task.name}")

        start = time.monotonic()
        metrics = dict(task.run(model, tick))
        self.reporter.layer_ended(0.0)
        record = {
            **head,
            "metrics": {name: _plain(metric) for name, metric in metrics.items()},
            "seconds": round(time.monotonic() - start, 3),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        }
        if self.journal is not None:
            append_journal(self.journal, record)
        return Measurement(source, task.name, task.kind, metrics, record)


def _plain(metric: Metric) -> dict[str, Any]:
    return {"value": metric.value, "low": metric.low, "high": metric.high, "items": metric.items}


def _key(record: Mapping[str, Any]) -> str:
    """What decides a measurement: the model's bytes, the data's bytes, and how it was measured."""
    model, data = (record.get(part) for part in ("model", "data"))
    hashes = [part.get("sha256") if isinstance(part, dict) else None for part in (model, data)]
    return json.dumps([*hashes, record.get("format"), record.get("settings")], sort_keys=True)
