"""The base in memory, which becomes one merge after another and is measured on the tasks; it writes nothing."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from globa_tui.diagnostics import UsageError
from globa_tui.jobs.device import resolve_device
from globa_tui.jobs.evaluation.data import DataSet, read_all
from globa_tui.jobs.evaluation.loading import ModelFolder, load_model, loaded_bytes, torch_dtype
from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.merge_plan import MergeOptions, plan_merge
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.judge import Judge, Measured
from globa_tui.jobs.sweep.model import SweepModel, run_with_factors
from globa_tui.jobs.sweep.settings import SweepRequest
from globa_tui.recipe import Recipe

Purpose = Literal["tune", "test"]
BASE = "base"


@dataclass(frozen=True)
class Job:
    """What to measure on which data: the base, a fine-tune, or a candidate."""

    purpose: Purpose
    show: str | Candidate
    """`base`, ``fine-tune 1`` and so on, or a candidate."""

    @property
    def name(self) -> str:
        """What it is, in words."""
        return str(self.show)


def source_names(tasks: int) -> list[str]:
    """The base and the fine-tunes, as a job and a journal name them."""
    return [BASE, *(f"fine-tune {number}" for number in range(1, tasks + 1))]


class Measurer:
    """Everything that a candidate is measured with. The model is loaded when something has to be measured.

    Raises
    ------
    UsageError, RunError, CheckpointError
        Run, sources or data cannot be used.
    """

    def __init__(self, request: SweepRequest) -> None:
        if request.run.is_file():
            msg = f"{request.run}: a packed run does not change; name a run folder"
            raise UsageError(msg)
        recipe = Recipe(run=str(request.run), base=request.base, fine_tuned=request.fine_tuned)
        self._request = request
        self.plan = plan_merge(recipe, MergeOptions())
        self.device = resolve_device(request.settings.device)
        self.tasks = len(self.plan.index.fine_tuned)
        self._largest = max((math.prod(layer.shape) for layer in self.plan.index.layers), default=0)
        manifest: Mapping[str, Any] = run_with_factors(self.plan).manifest
        self.manifest = manifest
        self.eta = AnalysisSettings.from_dict(manifest["settings"]).for_tasks(self.tasks).eta
        self.data = {"tune": read_all(request.data), "test": read_all(request.test)}
        self.judges = {purpose: self._judge(purpose, data) for purpose, data in self.data.items()}

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """The base, which becomes the merges, and its tokenizer."""
        return load_model(self._folder, self.device, self._dtype)

    def needed(self) -> int:
        """Bytes of memory that the next measurement can take on top of what is there."""
        loaded = "loaded" in vars(self)
        merging = 4 * (3 + self.tasks) * self._largest if self.device.type == "cpu" else 0
        return merging + (0 if loaded else loaded_bytes(self._folder, self._dtype))

    @property
    def _folder(self) -> ModelFolder:
        return ModelFolder(self.plan.index.base.source, self.plan.index.base.path)

    @property
    def _dtype(self) -> torch.dtype | str:
        return torch_dtype(self._request.settings.dtype, self.device)

    @cached_property
    def model(self) -> SweepModel:
        """The base with what candidates are built from."""
        return SweepModel(self.plan, self.loaded[0], self.device)

    def measure(self, job: Job, tick: Tick = lambda share: None) -> Measured:
        """Become what a job names, and measure that."""
        start = time.monotonic()
        self._show(job.show)
        built = time.monotonic() - start
        values = self.judges[job.purpose].values(self.loaded, self.device, tick)
        return Measured(values, round(time.monotonic() - start, 3), round(built, 4))

    def _show(self, what: str | Candidate) -> None:
        if isinstance(what, Candidate):
            self.model.show(what)
        elif what == BASE:
            self.model.show_base()
        else:
            self.model.show_fine_tuned(source_names(self.tasks).index(what) - 1)

    def _judge(self, purpose: str, data: list[DataSet]) -> Judge:
        request = self._request
        chosen = {name: metric for name, metric in request.metrics.items() if name in {one.name for one in data}}
        return Judge(data, request.metrics if purpose == "tune" else chosen, request.settings)


def on_device(request: SweepRequest, device: str) -> SweepRequest:
    """The same request, measured on another device."""
    return dataclasses.replace(request, settings=dataclasses.replace(request.settings, device=device))
