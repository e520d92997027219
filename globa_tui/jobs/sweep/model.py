"""One model in memory that becomes one merge after another, without a checkpoint and without an SVD."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from analysis.merge.globa import PATTERNS, merged_delta
from analysis.merge.patterns import PatternCores
from analysis.merge.task_arithmetic import task_arithmetic
from globa_tui.diagnostics import UsageError
from globa_tui.estimate import analysed
from globa_tui.jobs.factors import core_entries
from globa_tui.jobs.globa_merger import factor_names
from globa_tui.jobs.layer_values import LayerValues
from globa_tui.jobs.merge_plan import MergePlan
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.weights import LayerWeights, task_vectors
from globa_tui.memory import available_memory
from store.checkpoints import Layer
from store.checkpoints.dtypes import FLOATING
from store.errors import CheckpointError
from store.run import Run

MergeFunction = Callable[[LayerValues], torch.Tensor]
"""From a layer's values in every model to the merged tensor, in the working precision."""

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_SHARE_OF_MEMORY = 0.25
"""Part of the available memory that deltas of single patterns may fill."""


class SweepModel:
    """A loaded base whose weights are replaced by those of a merge.

    Parameters
    ----------
    plan
        The merge that is varied; its run must hold factors.
    model
        The base, as transformers loaded it.
    device
        Where it is.

    Notes
    -----
    Holds, besides the model, the base's analysed matrices in their own type and the factors of the run; and the delta
    of every pattern in float32 where a quarter of the available memory takes them, which saves the products. A
    candidate touches only the layers whose coefficients are not those of the one before.
    """

    def __init__(self, plan: MergePlan, model: Any, device: torch.device) -> None:
        run = run_with_factors(plan)
        self._plan, self._model, self._device = plan, model, device
        settings = AnalysisSettings.from_dict(run.manifest["settings"]).for_tasks(len(plan.index.fine_tuned))
        self.eta = settings.eta
        chosen = {layer["name"] for layer in analysed(map(dataclasses.asdict, plan.index.layers), settings)}
        merged = [la for la in plan.index.layers if la.tied_to is None and la.dtype in FLOATING]
        self._matrices = [layer for layer in merged if layer.name in chosen]
        self._rest = [layer for layer in merged if layer.name not in chosen]
        self._parameters = {layer.name: self._parameter(layer) for layer in merged}
        self._factors = self._read_factors(run, settings)
        self._room = Room()
        self._shown: dict[str, object] = {}
        self._rest_shown: tuple[float, ...] | None = None

    def show(self, candidate: Candidate) -> int:
        """Become the merge of a candidate; how many matrices had to be made anew."""
        if candidate.eta is not None and any(one > top for one, top in zip(candidate.eta, self.eta, strict=True)):
            msg = f"eta {candidate.eta} is above the run's {self.eta}, which pruned the rest away; analyse with more"
            raise UsageError(msg)
        recipe = (
            candidate.recipe("run") if candidate.eta is None else dataclasses.replace(candidate, eta=None).recipe("run")
        )
        made = 0
        for layer in self._matrices:
            values = recipe.resolve({"name": layer.name, "kind": layer.kind, "block": layer.block})
            wanted = (tuple(values.items()), candidate.eta)
            if self._shown.get(layer.name) != wanted:
                factors = self._factors[layer.name]
                self._put(layer, factors.merged(values, candidate.eta, self._room))
                self._shown[layer.name] = wanted
                made += 1
        self._show_rest(recipe.skip_weights_for(len(self._plan.index.fine_tuned)))
        return made

    def forget(self) -> None:
        """Forget what is shown, so that the next candidate is made from the start."""
        self._shown, self._rest_shown = {}, None

    def shown(self, layer: Layer) -> torch.Tensor:
        """The weight that the model has now for a tensor of the checkpoint."""
        return self._parameters[layer.name]

    def show_with(self, merge: MergeFunction) -> None:
        """Become whatever `merge` makes of every tensor of the checkpoints: a source, or the result of any method."""
        self.forget()
        with LayerWeights(self._plan.index, self._device) as weights:
            for layer in (*self._matrices, *self._rest):
                values = LayerValues(layer, self._plan.index, weights, allow_failed=False)
                self._put(layer, merge(values))

    def show_base(self) -> None:
        """Become the base."""
        self.show_with(lambda values: values.whole()[0])

    def show_fine_tuned(self, task: int) -> None:
        """Become a fine-tune, counted from 0."""

        def one(values: LayerValues) -> torch.Tensor:
            base, models = values.whole()
            weight, deltas = task_vectors(base, [models[task]], torch.float64)
            return weight + deltas[0]

        self.show_with(one)

    def _show_rest(self, weights: tuple[float, ...]) -> None:
        if weights == self._rest_shown:
            return
        with LayerWeights(self._plan.index, self._device) as reader:
            for layer in self._rest:
                base, models = reader.read(layer)
                working = torch.float64 if base.dtype == torch.float64 else torch.float32
                weight, deltas = task_vectors(base, models, working)
                self._put(layer, weight + task_arithmetic(deltas, weight=weights))
        self._rest_shown = weights

    def _put(self, layer: Layer, merged: torch.Tensor) -> None:
        """Give a parameter the values that it would have if the merge were written and loaded."""
        parameter = self._parameters[layer.name]
        written = _DTYPES.get(layer.dtype, parameter.dtype)
        # Rounded to the type of the file first, unless the model holds that very type and rounds in the copy.
        parameter.copy_((merged if written == parameter.dtype else merged.to(written)).reshape(parameter.shape))

    def _parameter(self, layer: Layer) -> torch.Tensor:
        """The values of the loaded model that belong to a tensor of the checkpoint."""
        prefix = getattr(self._model, "base_model_prefix", "")
        state: Mapping[str, torch.Tensor] = self._model.state_dict(keep_vars=False)
        found = state.get(layer.tensor, state.get(f"{prefix}.{layer.tensor}"))
        if found is not None and layer.part is not None:
            found = found[layer.part] if found.ndim == 3 and layer.part < found.shape[0] else None
        if found is None or tuple(found.shape) != layer.shape:
            there = "is not there" if found is None else f"is {tuple(found.shape)}"
            msg = (
                f"{layer.name} {layer.shape}: in the model that transformers loads it {there}, so candidates cannot be "
                "built in memory; use `globa-tui merge` and `globa-tui evaluate`"
            )
            raise CheckpointError(msg)
        return found.detach()

    def _read_factors(self, run: Run, settings: AnalysisSettings) -> dict[str, _Factors]:
        tasks = len(settings.eta)
        energies = {int(record["index"]): record.get("effect", {}).get("task_energy") for record in run.records()}
        size = sum(layer.shape[0] * layer.shape[1] for layer in self._matrices) * 4 * len(PATTERNS)
        keep = size <= _SHARE_OF_MEMORY * _free(self._device)
        found = {}
        with LayerWeights(self._plan.index, self._device) as weights:
            for layer in self._matrices:
                base, _ = weights.read(layer)
                arrays = run.arrays(layer.index, factor_names(tasks))
                energy = energies.get(layer.index)
                found[layer.name] = _Factors(base, arrays, settings.anchor - 1, energy, keep=keep)
        return found


def run_with_factors(plan: MergePlan) -> Run:
    """The run of a plan, when candidates can be built from it."""
    run = plan.run
    if run is None or not run.manifest["settings"].get("factors", False):
        where = run.path if run is not None else "the merge"
        msg = f"{where}: has no factors to build candidates from; analyse again, without --no-factors"
        raise UsageError(msg)
    if plan.index.vocabulary is not None:
        msg = f"{run.path}: its models differ in vocabulary; sweep models of one vocabulary, or merge and evaluate"
        raise UsageError(msg)
    return run


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = available_memory()
    return found[0] if found is not None else 0


class Room:
    """Memory that one matrix after another is computed in: taking it anew each time costs as much as the sum."""

    def __init__(self) -> None:
        self._flat = torch.empty(0)

    def like(self, matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A matrix of that shape and place; its values are whatever was there."""
        size = matrix.numel()
        if self._flat.numel() < size or (self._flat.dtype, self._flat.device) != (dtype, matrix.device):
            self._flat = torch.empty(size, dtype=dtype, device=matrix.device)
        return self._flat[:size].view(matrix.shape)


class _Factors:
    """What one layer's merges are made of."""

    def __init__(
        self,
        base: torch.Tensor,
        arrays: Mapping[str, np.ndarray[Any, Any]],
        anchor: int,
        energies: Sequence[float] | None,
        *,
        keep: bool,
    ) -> None:
        self.base, self._anchor, self._energies = base, anchor, energies
        self._left, self._right = (
            torch.from_numpy(arrays[f"basis/{side}"]).to(base.device) for side in ("left", "right")
        )
        self._dtype = torch.float64 if self._left.dtype == torch.float64 else torch.float32
        self._shape = (self._left.shape[1], self._right.shape[1])
        tasks = sum(name.endswith("/values") for name in arrays)
        self._entries = [
            core_entries(arrays, task, self._shape, self._dtype, base.device) for task in range(1, tasks + 1)
        ]
        self._cores = PatternCores(self._entries, anchor, self._shape)
        self._keep = keep
        self._deltas: tuple[torch.Tensor, Sequence[str]] | None = None

    def merged(self, coefficients: Mapping[str, float], eta: tuple[float, ...] | None, room: Room) -> torch.Tensor:
        """The merged weight in the working precision; the next call may overwrite it."""
        if self._keep and eta is None:
            kept, present = self._kept()
            values = torch.tensor([[coefficients[pattern] for pattern in present]], dtype=self._dtype)
            weight = room.like(self.base, self._dtype).copy_(self.base)
            # One pass over all deltas, into memory that is there already: the sum is bound by memory.
            flat = weight.view(1, -1)
            torch.addmm(flat, values.to(weight.device), kept, out=flat)
            return weight
        weight = self.base.to(self._dtype)
        cores = self._cores if eta is None else self._pruned(eta)
        return weight + self._product(cores.weighted(coefficients))

    def _kept(self) -> tuple[torch.Tensor, Sequence[str]]:
        """The deltas of the patterns at 1, one to a row, made when they are first needed; and which they are of."""
        if self._deltas is None:
            present = self._cores.present()
            deltas = self.base.new_empty(len(present), self.base.numel(), dtype=self._dtype)
            for row, pattern in zip(deltas, present, strict=True):
                alone = {name: float(name == pattern) for name in PATTERNS}
                row.copy_(self._product(self._cores.weighted(alone)).flatten())
            self._deltas = deltas, present
        return self._deltas

    def _product(self, core: torch.Tensor) -> torch.Tensor:
        return merged_delta(self._left.to(self._dtype), core, self._right.to(self._dtype))

    def _pruned(self, eta: tuple[float, ...]) -> PatternCores:
        energies = self._energies or [float(one.values.double().square().sum()) for one in self._entries]
        entries = [one.pruned(share * whole) for one, share, whole in zip(self._entries, eta, energies, strict=True)]
        return PatternCores(entries, self._anchor, self._shape)
