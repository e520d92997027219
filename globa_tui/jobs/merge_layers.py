"""How one tensor is merged: from stored factors, by analysing it, or by a method on task vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from analysis.errors import NotFiniteError
from analysis.layer import analyse_layer
from analysis.merge import BLOCK, Role, TensorContext, merge_method
from analysis.merge.globa import merged_delta, weighted_core
from analysis.merge.task_arithmetic import task_arithmetic
from analysis.product import Product
from globa_tui.coefficients import GROUPS
from globa_tui.estimate import analysed
from globa_tui.jobs.factors import delta_from_factors
from globa_tui.jobs.layer_options import layer_options
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.jobs.weights import Models, task_vectors
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer
from store.run import Run

EMBEDDING_KINDS = GROUPS["embeddings"]


class LayerMerger(Protocol):
    """Merges one tensor after another; `passed_through` collects the layers whose analysis had failed."""

    passed_through: list[str]

    @property
    def passes(self) -> int:
        """How many times every tensor must be shown to `see` before the first is merged."""
        ...

    def see(self, layer: Layer, base: torch.Tensor, models: Models) -> None:
        """Take in one tensor of a pass over the checkpoint."""
        ...

    def end_pass(self) -> None:
        """Conclude a pass."""
        ...

    def merge(self, layer: Layer, base: torch.Tensor, models: Models) -> torch.Tensor:
        """The merged weight in the working precision; a model that lacks the tensor counts as unchanged."""
        ...


def make_merger(recipe: Recipe, index: Index, run: Run | None, device: torch.device) -> LayerMerger:
    """The merger that a recipe asks for."""
    if recipe.method != "globa":
        return MethodMerger(recipe, index, device)
    stored = run.manifest["settings"] if run is not None else recipe.settings
    settings = AnalysisSettings.from_dict(stored).for_tasks(len(index.fine_tuned))
    return GlobaMerger(recipe, index, run, settings, device)


class MethodMerger:
    """Merges every floating tensor by one method on the task vectors; all parameters are checked beforehand."""

    def __init__(self, recipe: Recipe, index: Index, device: torch.device) -> None:
        self.method = merge_method(recipe.method)
        self.device = device
        tasks = len(index.fine_tuned)
        self.method.complete(recipe.params, tasks)
        self.params = {
            layer.name: self.method.complete(recipe.resolve_params(_described(layer)), tasks) for layer in index.layers
        }
        self.prepared = self.method.passes(list(self.params.values()), tasks)
        self.passes = self.prepared.passes if self.prepared is not None else 0
        self.passed_through: list[str] = []

    def see(self, layer: Layer, base: torch.Tensor, models: Models) -> None:
        if self.prepared is not None:
            for first, part, of_models in self._parts(layer, base, models):
                weight, deltas = task_vectors(part, of_models, _working(base))
                self.prepared.see(deltas, self._context(layer, weight, first), self.params[layer.name])

    def end_pass(self) -> None:
        if self.prepared is not None:
            self.prepared.end_pass()

    def merge(self, layer: Layer, base: torch.Tensor, models: Models) -> torch.Tensor:
        parts = self._parts(layer, base, models)
        if len(parts) == 1:
            return self._merged(layer, base, models, 0)
        merged = torch.empty(base.numel(), dtype=_working(base), device=base.device)
        for first, part, of_models in parts:
            merged[first : first + part.numel()] = self._merged(layer, part, of_models, first)
        return merged.reshape(base.shape)

    def _merged(self, layer: Layer, base: torch.Tensor, models: Models, first: int) -> torch.Tensor:
        weight, deltas = task_vectors(base, models, _working(base))
        try:
            return weight + self.method.run(deltas, self._context(layer, weight, first), self.params[layer.name])
        except NotFiniteError:
            # NaN was let through so far; the SVD of a matrix with NaN does not exist, a mean does.
            self.passed_through.append(layer.name)
            return weight + task_arithmetic(deltas, weight=1.0 / len(deltas))

    def _parts(self, layer: Layer, base: torch.Tensor, models: Models) -> list[tuple[int, torch.Tensor, Models]]:
        """The tensor in parts of flat entries where the method allows it, so that little of it is widened at a time."""
        tensors = [model for model in models if not isinstance(model, Product)]
        by_entry = self.method.by_entry(role_of_layer(layer), self.params[layer.name])
        if base.numel() <= BLOCK or len(tensors) < len(models) or not by_entry:
            return [(0, base, models)]
        flat, others = base.reshape(-1), [None if one is None else one.reshape(-1) for one in tensors]
        return [
            (first, flat[first : first + BLOCK], [None if o is None else o[first : first + BLOCK] for o in others])
            for first in range(0, base.numel(), BLOCK)
        ]

    def _context(self, layer: Layer, weight: torch.Tensor, first: int) -> TensorContext:
        return TensorContext(layer.name, role_of_layer(layer), weight, self.prepared, first)


class GlobaMerger:
    """Merges analysed matrices by GLOBA with the recipe's coefficients, everything else by the skip weights."""

    def __init__(
        self, recipe: Recipe, index: Index, run: Run | None, settings: AnalysisSettings, device: torch.device
    ) -> None:
        self.recipe, self.run, self.settings, self.device = recipe, run, settings, device
        self.tasks = len(index.fine_tuned)
        self.skip_weights = recipe.skip_weights_for(self.tasks)
        chosen = analysed([dataclasses.asdict(layer) for layer in index.layers], settings)
        self.chosen = {layer["name"] for layer in chosen}
        self.status = {str(r["name"]): str(r["status"]) for r in run.records()} if run is not None else {}
        self.factors = bool(settings.factors) and run is not None
        self.options = layer_options(settings)
        self.passed_through: list[str] = []
        self.passes = 0

    def see(self, layer: Layer, base: torch.Tensor, models: Models) -> None:
        """Nothing: an analysis looks at each tensor on its own."""

    def end_pass(self) -> None:
        """Nothing."""

    def merge(self, layer: Layer, base: torch.Tensor, models: Models) -> torch.Tensor:
        if layer.name not in self.chosen or self.status.get(layer.name) == "failed":
            if layer.name in self.chosen:
                self.passed_through.append(layer.name)
            weight, deltas = task_vectors(base, models, _working(base))
            return weight + task_arithmetic(deltas, weight=self.skip_weights)
        weight = base.to(self.options.dtype)
        return weight + self._delta(layer, base, models).to(weight.dtype)

    def _delta(self, layer: Layer, base: torch.Tensor, models: Models) -> torch.Tensor:
        coefficients = self.recipe.resolve(_described(layer))
        if self.factors and self.run is not None:
            arrays = self.run.arrays(layer.index, factor_names(self.tasks))
            return delta_from_factors(arrays, self.tasks, self.options.anchor, coefficients, self.device)
        result = analyse_layer(base, models, self.options)
        core = weighted_core(result.pruned, self.options.anchor, coefficients)
        return merged_delta(result.left.vectors, core, result.right.vectors)


def factor_names(tasks: int) -> list[str]:
    """Names of the arrays that a merge from a run reads."""
    cores = [f"core/{task}/{part}" for task in range(1, tasks + 1) for part in ("rows", "cols", "values")]
    return ["basis/left", "basis/right", *cores]


def role_of_layer(layer: Layer) -> Role:
    """What a tensor is to a merge method: embeddings and output heads are matrices of their own sort."""
    if layer.role == "matrix" and layer.kind in EMBEDDING_KINDS:
        return "embedding"
    return layer.role


def _described(layer: Layer) -> Mapping[str, Any]:
    return {"name": layer.name, "kind": layer.kind, "block": layer.block}


def _working(base: torch.Tensor) -> torch.dtype:
    return torch.float64 if base.dtype == torch.float64 else torch.float32
