"""How one tensor is merged by a method on task vectors."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from analysis.errors import NotFiniteError
from analysis.merge import Preparation, TensorContext, TensorPasses, merge_method
from analysis.merge.task_arithmetic import task_arithmetic
from globa_tui.jobs.layer_merger import Way, described, norms, role_of_layer
from globa_tui.jobs.layer_values import LayerValues, Merged
from globa_tui.jobs.weights import task_vectors
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer


class MethodMerger:
    """Merges every floating tensor by one method on the task vectors; all parameters are checked beforehand."""

    def __init__(self, recipe: Recipe, index: Index, prepared: Preparation | None = None) -> None:
        self.method = merge_method(recipe.method)
        tasks = self.tasks = len(index.fine_tuned)
        self.method.complete(recipe.params, tasks)
        self.params = {
            layer.name: self.method.complete(recipe.resolve_params(described(layer)), tasks) for layer in index.layers
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

    def way(self, layer: Layer) -> Way:
        parts = self.method.by_entry(role_of_layer(layer), self.params[layer.name])
        return Way.PARTS if parts else Way.WHOLE

    def merge(self, values: LayerValues) -> Iterator[Merged]:
        layer = values.layer
        params = self.params[layer.name]
        if self.way(layer) is Way.WHOLE:
            yield self._whole(values)
            return
        found = self._passes(values)
        for part, measured in values.measured():
            context = self._context(layer, part.weight, part.first, found)
            merged = self.method.run(part.deltas, context, params).add_(part.weight)
            yield Merged(part.first, part.weight, merged, measured)

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
        found = norms(base, models)
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
        return Merged(0, weight.reshape(-1), delta.add_(weight).reshape(-1), found)

    def _context(self, layer: Layer, weight: torch.Tensor, first: int, found: TensorPasses | None) -> TensorContext:
        return TensorContext(layer.name, role_of_layer(layer), weight, self.prepared, found, first)
