"""How one tensor is merged: from stored factors, by analysing it, or by a method on task vectors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch

from analysis.errors import NotFiniteError
from analysis.layer import pruned_matrices
from analysis.merge import BLOCK, Preparation, Role, TensorContext, TensorPasses, merge_method
from analysis.merge.globa import merged_delta, weighted_core
from analysis.merge.task_arithmetic import task_arithmetic
from globa_tui.coefficients import GROUPS
from globa_tui.estimate import analysed
from globa_tui.jobs.drift import distance, task_norm
from globa_tui.jobs.factors import delta_from_factors
from globa_tui.jobs.layer_options import layer_options
from globa_tui.jobs.layer_values import LayerValues, Merged
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.jobs.sources import sources_of
from globa_tui.jobs.weights import PIECE, Model, Models, task_vectors
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer
from store.checkpoints.dtypes import BITS
from store.run import Run

EMBEDDING_KINDS = GROUPS["embeddings"]


class LayerMerger(Protocol):
    """Merges one tensor after another; `passed_through` collects the layers whose analysis had failed."""

    passed_through: list[str]
    prepared: Preparation | None
    """What its passes over the checkpoint found."""

    @property
    def passes(self) -> int:
        """How many times every tensor must be shown to `see` before the first is merged."""
        ...

    def see(self, values: LayerValues) -> None:
        """Take in one tensor of a pass over the checkpoint."""
        ...

    def end_pass(self) -> None:
        """Conclude a pass."""
        ...

    def takes_whole(self, layer: Layer) -> bool:
        """Whether a tensor is merged as a whole, not part after part."""
        ...

    def merge(self, values: LayerValues) -> Iterator[Merged]:
        """The merged tensor in ranges; a model that lacks the tensor counts as unchanged."""
        ...


def make_merger(
    recipe: Recipe, index: Index, run: Run | None, device: torch.device, prepared: Preparation | None = None
) -> LayerMerger:
    """The merger that a recipe asks for; `prepared` is what another one found in its passes."""
    if recipe.method != "globa":
        return MethodMerger(recipe, index, prepared)
    stored = run.manifest["settings"] if run is not None else recipe.settings
    tasks = len(sources_of(run.manifest)[1]) if run is not None else len(index.fine_tuned)
    return GlobaMerger(recipe, index, run, AnalysisSettings.from_dict(stored).for_tasks(tasks), device)


class MethodMerger:
    """Merges every floating tensor by one method on the task vectors; all parameters are checked beforehand."""

    def __init__(self, recipe: Recipe, index: Index, prepared: Preparation | None = None) -> None:
        self.method = merge_method(recipe.method)
        tasks = self.tasks = len(index.fine_tuned)
        self.method.complete(recipe.params, tasks)
        self.params = {
            layer.name: self.method.complete(recipe.resolve_params(_described(layer)), tasks) for layer in index.layers
        }
        if prepared is None:
            prepared = self.method.passes(list(self.params.values()), tasks)
        self.prepared = prepared
        self.passes = self.prepared.passes if self.prepared is not None else 0
        self.passed_through: list[str] = []

    def see(self, values: LayerValues) -> None:
        params = self.params[values.layer.name]
        if self.prepared is None or not self.prepared.takes(params):
            return
        found = self._passes(values)
        for part, _ in values.measured():
            context = self._context(values.layer, part.weight, part.first, found)
            self.prepared.see(part.deltas, context, params)

    def end_pass(self) -> None:
        if self.prepared is not None:
            self.prepared.end_pass()

    def takes_whole(self, layer: Layer) -> bool:
        return not self.method.by_entry(role_of_layer(layer), self.params[layer.name])

    def merge(self, values: LayerValues) -> Iterator[Merged]:
        layer = values.layer
        params = self.params[layer.name]
        if self.takes_whole(layer):
            yield self._whole(values)
            return
        found = self._passes(values)
        for part, norms in values.measured():
            context = self._context(layer, part.weight, part.first, found)
            merged = self.method.run(part.deltas, context, params).add_(part.weight)
            yield Merged(part.first, part.weight, merged, norms)

    def _passes(self, values: LayerValues) -> TensorPasses | None:
        """What the method's passes over the tensor find."""
        passes = self.method.tensor_passes(self.params[values.layer.name], self.tasks, values.dtype)
        while passes is not None and not passes.done:
            for part in values.parts():
                passes.see(part.deltas, self._context(values.layer, part.weight, part.first, None))
            passes.end_pass()
        return passes

    def _whole(self, values: LayerValues) -> Merged:
        layer = values.layer
        base, models = values.whole()
        weight, deltas = task_vectors(base, models, values.dtype)
        norms = _norms(base, models)
        del models
        # A method that needs the base too widens it as it goes; torch does so for all but 8-bit floats.
        kept = base if base.element_size() > 1 else weight
        del base, weight
        try:
            delta = self.method.run(deltas, self._context(layer, kept, 0, None), self.params[layer.name])
        except NotFiniteError:
            # NaN was let through so far; the SVD of a matrix with NaN does not exist, a mean does.
            self.passed_through.append(layer.name)
            delta = task_arithmetic(deltas, weight=1.0 / len(deltas))
        del deltas
        weight = kept.to(values.dtype)
        return Merged(0, weight.reshape(-1), delta.add_(weight).reshape(-1), norms)

    def _context(self, layer: Layer, weight: torch.Tensor, first: int, found: TensorPasses | None) -> TensorContext:
        return TensorContext(layer.name, role_of_layer(layer), weight, self.prepared, found, first)


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

    def takes_whole(self, layer: Layer) -> bool:
        return layer.name in self.chosen and self.status.get(layer.name) != "failed"

    def merge(self, values: LayerValues) -> Iterator[Merged]:
        layer = values.layer
        if not self.takes_whole(layer):
            if layer.name in self.chosen:
                self.passed_through.append(layer.name)
            for part, norms in values.measured():
                merged = part.weight.clone()
                if any(self.skip_weights):
                    merged = task_arithmetic(part.deltas, weight=self.skip_weights).add_(part.weight)
                yield Merged(part.first, part.weight, merged, norms)
            return
        base, models = values.whole()
        norms = _norms(base, models)
        # Widened only when it is added: the analysis needs the memory.
        merged = self._delta(layer, base, models).to(self.options.dtype)
        merged.add_(base.to(self.options.dtype))
        yield Merged(0, base.reshape(-1), merged.reshape(-1), norms)

    def _delta(self, layer: Layer, base: torch.Tensor, models: list[Model]) -> torch.Tensor:
        coefficients = self.recipe.resolve(_described(layer))
        if self.factors and self.run is not None:
            arrays = self.run.arrays(layer.index, factor_names(self.tasks))
            return delta_from_factors(arrays, self.tasks, self.options.anchor, coefficients, self.device)
        found = pruned_matrices(base, models, self.options)
        core = weighted_core(found.cores, self.options.anchor, coefficients)
        found.cores.clear()
        return merged_delta(found.left, core, found.right)


def factor_names(tasks: int) -> list[str]:
    """Names of the arrays that a merge from a run reads."""
    cores = [f"core/{task}/{part}" for task in range(1, tasks + 1) for part in ("rows", "cols", "values")]
    return ["basis/left", "basis/right", *cores]


def layer_memory(recipe: Recipe, layer: Layer, tasks: int) -> int:
    """Bytes that merging one layer takes, estimated: parts of it, or the whole and what a decomposition needs."""
    entries = math.prod(layer.shape)
    if recipe.method == "globa":
        whole = layer.role == "matrix"
    else:
        params = merge_method(recipe.method).complete(recipe.resolve_params(_described(layer)), tasks)
        whole = not merge_method(recipe.method).by_entry(role_of_layer(layer), params)
    if not whole:
        # Parts in the working dtype, of two pieces in the type of the files.
        pieces = 2 * min(entries, PIECE) * (tasks + 1) * BITS[layer.dtype] // 8
        return 4 * min(entries, BLOCK) * (tasks + 6) + pieces
    side = min(layer.shape, default=0)
    return 4 * entries * (tasks + 3) + 8 * 8 * side**2


def role_of_layer(layer: Layer) -> Role:
    """What a tensor is to a merge method: embeddings and output heads are matrices of their own sort."""
    if layer.role == "matrix" and layer.kind in EMBEDDING_KINDS:
        return "embedding"
    return layer.role


def _described(layer: Layer) -> Mapping[str, Any]:
    return {"name": layer.name, "kind": layer.kind, "block": layer.block}


def _norms(base: torch.Tensor, models: Models) -> tuple[float, ...]:
    return distance(base), *(task_norm(one, base) for one in models)
