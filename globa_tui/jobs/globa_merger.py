"""How one tensor is merged by GLOBA: from stored factors, or by analysing it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch

from analysis.errors import NotFiniteError
from analysis.layer import pruned_matrices
from analysis.merge import Preparation, globa_by_rows
from analysis.merge.globa import merged_delta, weigh_in_place
from analysis.merge.task_arithmetic import task_arithmetic
from globa_tui.estimate import analysed
from globa_tui.jobs.factors import delta_from_factors
from globa_tui.jobs.layer_merger import Way, described, norms
from globa_tui.jobs.layer_options import layer_options
from globa_tui.jobs.layer_values import LayerValues, Merged
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.jobs.weights import Model
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer
from store.run import Run


class GlobaMerger:
    """Merges analysed matrices by GLOBA with the recipe's coefficients, everything else by the skip weights."""

    def __init__(
        self, recipe: Recipe, index: Index, run: Run | None, settings: AnalysisSettings, device: torch.device
    ) -> None:
        self.recipe, self.run, self.settings, self.device = recipe, run, settings, device
        self.tasks = len(settings.eta)
        self.skip_weights = recipe.skip_weights_for(self.tasks)
        self.status = {str(r["name"]): str(r["status"]) for r in run.records()} if run is not None else {}
        if run is not None:
            self.chosen = {name for name, status in self.status.items() if status != "skipped"}
        else:
            chosen = analysed([dataclasses.asdict(layer) for layer in index.layers], settings)
            self.chosen = {str(layer["name"]) for layer in chosen}
        self.factors = bool(settings.factors) and run is not None
        self.options = layer_options(settings)
        self.passed_through: list[str] = []
        self.passes = 0
        self.prepared: Preparation | None = None

    def see(self, values: LayerValues) -> None:
        """Nothing: an analysis looks at each tensor on its own."""

    def end_pass(self) -> None:
        """Nothing."""

    def way(self, layer: Layer) -> Way:
        if layer.name not in self.chosen or self.status.get(layer.name) == "failed":
            return Way.PARTS
        # Of a change by factors an analysis holds little anyway.
        whole = self.factors or any(rank is not None for rank in layer.ranks)
        return Way.ROWS if not whole and globa_by_rows.applies(layer.shape, self.options) else Way.WHOLE

    def merge(self, values: LayerValues) -> Iterator[Merged]:
        way = self.way(values.layer)
        if way is Way.PARTS:
            yield from self._skipped(values)
            return
        coefficients = self.recipe.resolve(described(values.layer))
        if way is Way.ROWS and (mixed := self._mixtures(values, coefficients)) is not None:
            yield from self._mixed(values, mixed)
            return
        base, models = values.whole()
        measured = norms(base, models)
        try:
            merged = self._delta(values.layer, base, models, coefficients).to(self.options.dtype)
        except NotFiniteError:
            if not values.allow_failed:
                raise
            # NaN was let through, which no analysis takes.
            yield from self._skipped(values)
            return
        # Widened only now: the analysis needs the memory.
        merged.add_(base.to(self.options.dtype))
        yield Merged(0, base.reshape(-1), merged.reshape(-1), measured)

    def _skipped(self, values: LayerValues) -> Iterator[Merged]:
        """What is not analysed, or could not be."""
        if values.layer.name in self.chosen:
            self.passed_through.append(values.layer.name)
        for part, measured in values.measured():
            merged = part.weight.clone()
            if any(self.skip_weights):
                merged = task_arithmetic(part.deltas, weight=self.skip_weights).add_(part.weight)
            yield Merged(part.first, part.weight, merged, measured)

    def _mixtures(self, values: LayerValues, coefficients: Mapping[str, float]) -> list[torch.Tensor] | None:
        rows, cols = values.layer.shape

        def once() -> Iterator[list[torch.Tensor]]:
            for part in values.parts(by_rows=True):
                yield [delta.view(-1, cols) for delta in part.deltas]

        return globa_by_rows.mixtures(once, rows, self.options, coefficients)

    def _mixed(self, values: LayerValues, mixtures: list[torch.Tensor]) -> Iterator[Merged]:
        cols = values.layer.shape[1]
        for part, measured in values.measured(by_rows=True):
            merged = part.weight.view(-1, cols).to(torch.float64, copy=True)
            for delta, mixture in zip(part.deltas, mixtures, strict=True):
                merged.addmm_(delta.view(-1, cols).double(), mixture)
            yield Merged(part.first, part.weight, merged.to(self.options.dtype).view(-1), measured)

    def _delta(
        self, layer: Layer, base: torch.Tensor, models: list[Model], coefficients: Mapping[str, float]
    ) -> torch.Tensor:
        if self.factors and self.run is not None:
            arrays = self.run.arrays(layer.index, factor_names(self.tasks))
            return delta_from_factors(arrays, self.tasks, self.options.anchor, coefficients, self.device)
        found = pruned_matrices(base, models, self.options)
        core = weigh_in_place(found.cores, self.options.anchor, coefficients)
        found.cores.clear()
        return merged_delta(found.left, core, found.right)


def factor_names(tasks: int) -> list[str]:
    """Names of the arrays that a merge from a run reads."""
    cores = [f"core/{task}/{part}" for task in range(1, tasks + 1) for part in ("rows", "cols", "values")]
    return ["basis/left", "basis/right", *cores]
