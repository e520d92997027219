"""The merge of one tensor, wherever it is carried out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch

from analysis.errors import AnalysisError, NotFiniteError
from analysis.merge.method import Preparation
from globa_tui.engine.devices import is_out_of_memory
from globa_tui.jobs.drift import Drift, measure
from globa_tui.jobs.merge_layers import LayerMerger, make_merger
from globa_tui.jobs.merge_plan import MergeOptions, MergePlan
from globa_tui.jobs.resources import layer_failure
from globa_tui.jobs.weights import LayerWeights, Model, Models, bad_entries
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer
from store.checkpoints.dtypes import FLOATING
from store.errors import CheckpointError
from store.run import Run

_TORCH_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NARROW = frozenset({"F16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
"""Types whose range a merged value may leave."""


@dataclasses.dataclass(frozen=True)
class Merged:
    """A finished tensor."""

    tensor: torch.Tensor
    drift: Drift | None
    """How far it moved; None for what holds no floating numbers."""
    passed_through: bool
    """Whether it was merged as if it were no matrix."""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return self.tensor.nbytes


@dataclasses.dataclass(frozen=True)
class MergeWork:
    """The merge of the tensors of a base."""

    recipe: Recipe
    index: Index
    run: Path | None
    codes: Mapping[str, str]
    """Safetensors code of every output tensor."""
    allow_failed: bool
    prepared: Preparation | None = None
    """What the method found in its passes over the checkpoint."""

    @classmethod
    def of(cls, plan: MergePlan, options: MergeOptions, prepared: Preparation | None) -> MergeWork:
        codes = {tensor.name: tensor.dtype for tensor in plan.output.tensors}
        run = plan.run.path if plan.run is not None else None
        return cls(plan.recipe, plan.index, run, codes, options.allow_failed, prepared)

    def open(self, device: str, instead_of: str = "") -> MergeStation:
        del instead_of
        place = torch.device(device)
        run = Run.open(self.run) if self.run is not None else None
        return MergeStation(self, make_merger(self.recipe, self.index, run, place, self.prepared), place)


class MergeStation:
    """Merges tensors on one device; a tied one as the tensor it is tied to, so that they stay equal."""

    def __init__(self, work: MergeWork, merger: LayerMerger, device: torch.device) -> None:
        self._work, self._merger, self._device = work, merger, device
        self._sources = Sources(work.index, device, allow_failed=work.allow_failed)

    def read(self, item: int) -> tuple[torch.Tensor, list[Model]]:
        """The tensor of every model, on the device."""
        return self._sources.read(self._work.index.layers[item])

    def compute(self, item: int, inputs: tuple[torch.Tensor, list[Model]]) -> Merged:
        """Merge, round to the type of the output, and measure how far the tensor moved."""
        layer = self._work.index.layers[item]
        weight, models = inputs
        if layer.dtype not in FLOATING:
            return Merged(weight.cpu(), None, passed_through=False)
        source = self._sources.of(layer)
        self._sources.require_finite(source, weight, models)
        passed = len(self._merger.passed_through)
        merged = self._merged(source, weight, models)
        kept = self._sources.weights.kept_rows(source)
        if kept:
            merged[kept] = weight[kept].to(merged.dtype)
        if not self._work.allow_failed and bad_entries(merged):
            msg = f"{source.name}: the merged tensor is not finite though every source is; use smaller coefficients"
            raise CheckpointError(msg)
        code = self._work.codes[layer.tensor]
        result = merged.to(_TORCH_DTYPES.get(code, weight.dtype)).reshape(layer.shape)
        self._require_range(layer, code, result)
        drift = measure(weight, result, models)
        return Merged(result.cpu().contiguous(), drift, len(self._merger.passed_through) > passed)

    def close(self) -> None:
        self._sources.weights.close()

    def _merged(self, source: Layer, weight: torch.Tensor, models: Models) -> torch.Tensor:
        try:
            return self._merger.merge(source, weight, models)
        except Exception as error:
            reason = layer_failure(error)
            spared = self._device.type != "cpu" and is_out_of_memory(error)
            if reason is None or isinstance(error, AnalysisError) or spared:
                raise
            msg = f"{source.name}: {reason}"
            raise AnalysisError(msg) from error

    def _require_range(self, layer: Layer, code: str, result: torch.Tensor) -> None:
        if code in _NARROW and not self._work.allow_failed:
            bad = bad_entries(result)
            if bad:
                msg = f"{layer.name}: {bad} merged values leave the range of {code}; use --dtype bfloat16 or float32"
                raise CheckpointError(msg)


class PassWork:
    """A pass of a method that looks at the whole model before it merges; what it finds stays in the merger.

    Only for an engine of one worker in this process: the merger is one, and what it sums up has an order.
    """

    def __init__(self, merger: LayerMerger, plan: MergePlan, options: MergeOptions) -> None:
        self.merger, self.index, self.allow_failed = merger, plan.index, options.allow_failed

    def open(self, device: str, instead_of: str = "") -> PassStation:
        del instead_of
        return PassStation(self.merger, Sources(self.index, torch.device(device), allow_failed=self.allow_failed))


class Seen:
    """A tensor was shown; nothing comes of it."""

    nbytes = 0


class PassStation:
    """Shows tensors to a method."""

    def __init__(self, merger: LayerMerger, sources: Sources) -> None:
        self._merger, self._sources = merger, sources

    def read(self, item: int) -> tuple[torch.Tensor, list[Model]]:
        """The tensor of every model, on the device."""
        return self._sources.read(self._sources.index.layers[item])

    def compute(self, item: int, inputs: tuple[torch.Tensor, list[Model]]) -> Seen:
        """Show them."""
        layer = self._sources.index.layers[item]
        self._sources.require_finite(layer, *inputs)
        self._merger.see(layer, *inputs)
        return Seen()

    def close(self) -> None:
        self._sources.weights.close()


class Sources:
    """Reads what is merged, and refuses NaN and infinity unless they may pass."""

    def __init__(self, index: Index, device: torch.device, *, allow_failed: bool) -> None:
        self.index, self.weights = index, LayerWeights(index, device)
        self._allow_failed = allow_failed
        self._by_name = {layer.name: layer for layer in index.layers if layer.part is None}

    def of(self, layer: Layer) -> Layer:
        """The layer whose values a layer has: the one it is tied to, or itself."""
        return self._by_name.get(layer.tied_to or "", layer)

    def read(self, layer: Layer) -> tuple[torch.Tensor, list[Model]]:
        """The tensor of the base and of every model."""
        return self.weights.read(self.of(layer))

    def require_finite(self, layer: Layer, weight: torch.Tensor, models: Models) -> None:
        """Refuse NaN and infinity, naming the first tensor that has them.

        Raises
        ------
        NotFiniteError
        """
        if self._allow_failed:
            return
        index = self.index
        named = zip((index.base, *index.fine_tuned), (layer.name, *layer.fine_tuned), (weight, *models), strict=True)
        for checkpoint, name, tensor in named:
            bad = bad_entries(tensor)
            if bad:
                msg = (
                    f"{checkpoint.path}: tensor {name} holds {bad} NaN or infinite entries of {weight.numel()}; "
                    "mend the source, or let them through with --allow-failed"
                )
                raise NotFiniteError(msg)
