"""The merge of one tensor, wherever it is carried out."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from analysis.errors import AnalysisError
from analysis.merge import Preparation
from globa_tui.engine.devices import is_out_of_memory
from globa_tui.engine.work import Task
from globa_tui.jobs.drift import Drift, DriftMeter
from globa_tui.jobs.layer_merger import LayerMerger, Way
from globa_tui.jobs.layer_values import LayerValues, Merged, joined
from globa_tui.jobs.merge_layers import layer_memory, make_merger
from globa_tui.jobs.merge_plan import MergeOptions, MergePlan
from globa_tui.jobs.resources import layer_failure, read_bytes
from globa_tui.jobs.weights import LayerWeights, bad_entries
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer
from store.checkpoints.dtypes import BITS, FLOATING, torch_dtype
from store.errors import CheckpointError
from store.run import Run


@dataclasses.dataclass(frozen=True)
class Finished:
    """A tensor as it is written."""

    pieces: list[torch.Tensor]
    """Its flat entries, in order."""
    drift: Drift | None
    """How far it moved; None for what holds no floating numbers."""
    passed_through: bool
    """Whether it was merged as if it were no matrix."""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return sum(piece.nbytes for piece in self.pieces)


@dataclasses.dataclass(frozen=True)
class MergeWork:
    """The merge of the tensors of a base."""

    recipe: Recipe
    index: Index
    run: Path | None
    codes: Mapping[str, str]
    """Safetensors code of every output tensor."""
    allow_failed: bool
    prepared: Preparation | None
    """What the method found in its passes over the checkpoint."""

    @classmethod
    def of(cls, plan: MergePlan, options: MergeOptions, prepared: Preparation | None) -> MergeWork:
        """The work of a plan."""
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
        self._index, self._weights = work.index, LayerWeights(work.index, device)
        # What pieces leave behind is in the way of a decomposition alone, and a new block each time costs a tenth.
        self._in_one_block = any(_way(layer, merger) is not Way.PARTS for layer in work.index.layers)

    def read(self, item: int) -> LayerValues:
        """The values of the tensor; what is merged part after part is read while that is done."""
        layer = self._index.layers[item]
        source = self._index.source_of(layer)
        values = LayerValues(source, self._index, self._weights, allow_failed=self._work.allow_failed)
        if layer.dtype in FLOATING and self._merger.way(source) is Way.WHOLE:
            values.load()
        return values

    def compute(self, item: int, inputs: LayerValues) -> Finished:
        """Merge, round to the type of the output, and measure how far the tensor moved."""
        layer = self._index.layers[item]
        if layer.dtype not in FLOATING:
            return Finished(list(self._weights.copied(inputs.layer)), None, passed_through=False)
        passed = len(self._merger.passed_through)
        drift = DriftMeter(len(self._index.fine_tuned))
        in_parts = self._merger.way(inputs.layer) is Way.PARTS
        with _one_thread() if in_parts else contextlib.nullcontext():
            ranges = self._results(layer, inputs, drift)
            if self._in_one_block:
                pieces = [joined(ranges, math.prod(layer.shape))]
            else:
                pieces = [values for _, values in ranges]
        return Finished(pieces, drift.drift, len(self._merger.passed_through) > passed)

    def close(self) -> None:
        self._weights.close()

    def _results(self, layer: Layer, inputs: LayerValues, drift: DriftMeter) -> Iterator[tuple[int, torch.Tensor]]:
        """Ranges of the result, on the processor, each with its first entry; `drift` measures them."""
        for merged in self._merged(inputs):
            result = self._rounded(layer, inputs.layer, merged)
            size = drift.add(merged.weight, result, merged.norms)
            if not math.isfinite(size) and not self._work.allow_failed:
                self._refuse(layer, inputs.layer, merged.values, result)
            yield merged.first, result.cpu()

    def _merged(self, values: LayerValues) -> Iterator[Merged]:
        try:
            yield from self._merger.merge(values)
        except Exception as error:
            reason = layer_failure(error)
            spared = self._device.type != "cpu" and is_out_of_memory(error)
            if reason is None or isinstance(error, AnalysisError) or spared:
                raise
            msg = f"{values.layer.name}: {reason}"
            raise AnalysisError(msg) from error

    def _rounded(self, layer: Layer, source: Layer, merged: Merged) -> torch.Tensor:
        """A range of the merged tensor in the type of the output, with the rows that no method may change."""
        values = merged.values
        for kept in self._weights.kept(source, merged.first, merged.first + values.numel()):
            values[kept] = merged.weight[kept].to(values.dtype)
        return values.to(torch_dtype(self._work.codes[layer.tensor]))

    def _refuse(self, layer: Layer, source: Layer, values: torch.Tensor, result: torch.Tensor) -> None:
        """Refuse a result that is not finite."""
        code, bad = self._work.codes[layer.tensor], bad_entries(result)
        if bad_entries(values):
            msg = f"{source.name}: the merged tensor is not finite though every source is; use smaller coefficients"
            raise CheckpointError(msg)
        if bad:
            msg = f"{layer.name}: {bad} merged values leave the range of {code}; use --dtype bfloat16 or float32"
            raise CheckpointError(msg)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread of torch's: a part is so soon done that several would mostly wait for each other.

    On two cores that other programs use too, two threads took twelve times the processor time. What is read ahead and
    written goes on beside it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Seen:
    """A tensor was shown; nothing comes of it."""

    nbytes = 0


class PassWork:
    """A pass of a method that looks at the whole model before it merges; what it finds stays in the merger.

    Only for an engine of one worker in this process: the merger is one, and what it sums up has an order.
    """

    def __init__(self, merger: LayerMerger, plan: MergePlan, options: MergeOptions) -> None:
        self.merger, self.index, self.allow_failed = merger, plan.index, options.allow_failed

    def open(self, device: str, instead_of: str = "") -> PassStation:
        del instead_of
        return PassStation(self, torch.device(device))


class PassStation:
    """Shows tensors to a method."""

    def __init__(self, work: PassWork, device: torch.device) -> None:
        self._work, self._weights = work, LayerWeights(work.index, device)

    def read(self, item: int) -> LayerValues:
        """The values of the tensor, which are read while it is shown."""
        index = self._work.index
        return LayerValues(index.layers[item], index, self._weights, allow_failed=self._work.allow_failed)

    def compute(self, item: int, inputs: LayerValues) -> Seen:
        """Show it."""
        del item
        with _one_thread():
            self._work.merger.see(inputs)
        return Seen()

    def close(self) -> None:
        self._weights.close()


def task_of(layer: Layer, source: Layer, merger: LayerMerger, device: str, code: str) -> Task:
    """The task of one tensor, whose values are those of `source`; what a GPU works in is not this machine's memory."""
    way = _way(source, merger)
    read = read_bytes(source) if way is Way.WHOLE else 0
    worked_in = layer_memory(way, source, len(source.fine_tuned)) if device == "cpu" else 0
    output = math.prod(layer.shape) * BITS[code] // 8
    return Task(layer.index, layer.name, read, read + output + worked_in)


def _way(layer: Layer, merger: LayerMerger) -> Way:
    """How a tensor is merged; what holds no floating numbers is copied in parts."""
    return merger.way(layer) if layer.dtype in FLOATING else Way.PARTS
