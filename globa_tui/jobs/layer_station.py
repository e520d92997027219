"""The analysis of one layer, wherever it is carried out."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from analysis.layer import measure_tasks, relate_tasks
from globa_tui.engine.devices import is_out_of_memory
from globa_tui.engine.work import Task
from globa_tui.jobs.factors import factor_dtype
from globa_tui.jobs.layer_options import layer_options
from globa_tui.jobs.records import layer_arrays, layer_record, record_head
from globa_tui.jobs.resources import layer_bytes, layer_failure, read_bytes
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.jobs.weights import LayerWeights, Models
from store.checkpoints import Index, Layer
from store.run import Array


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a layer: its record, and the arrays of one that is done."""

    record: dict[str, Any]
    arrays: dict[str, Array]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.values.nbytes for array in self.arrays.values())


@dataclasses.dataclass(frozen=True)
class AnalysisWork:
    """The analysis of the layers of an index; `settings` hold one value for each fine-tune."""

    index: Index
    settings: AnalysisSettings

    def open(self, device: str, instead_of: str = "") -> LayerStation:
        return LayerStation(self.index, self.settings, torch.device(device), instead_of)

    def task(self, layer: Layer, device: str) -> Task:
        """The task of one layer; what a GPU works in is not this machine's memory."""
        read = read_bytes(layer)
        working = layer_bytes(layer, self.settings.precision) if device == "cpu" else read
        return Task(layer.index, layer.name, read, max(read, working))


class LayerStation:
    """Analyses layers on one device."""

    def __init__(self, index: Index, settings: AnalysisSettings, device: torch.device, instead_of: str) -> None:
        self._index, self._settings, self._device, self._instead_of = index, settings, device, instead_of
        self._options = layer_options(settings)
        self._weights = LayerWeights(index, device)

    def read(self, item: int) -> list[tuple[torch.Tensor, Models]]:
        """The layer's tensors, on the device, in a list that `compute` empties when it has seen them."""
        return [self._weights.read(self._index.layers[item])]

    def compute(self, item: int, inputs: list[tuple[torch.Tensor, Models]]) -> Outcome:
        """Analyse the layer; what makes this one fail alone is told in its record."""
        layer, settings = self._index.layers[item], self._settings
        start = time.monotonic()
        try:
            measured = measure_tasks(*inputs[0], self._options)
            inputs.clear()
            result = relate_tasks(measured, self._options)
        except Exception as error:
            reason = layer_failure(error)
            if reason is None or (self._device.type != "cpu" and is_out_of_memory(error)):
                raise
            return Outcome(record_head(layer, "failed", f"{layer.name}: {reason}"), {})
        del measured
        keep = factor_dtype(layer.dtype, settings.precision) if settings.factors else None
        arrays = layer_arrays(result, self._options.anchor, keep)
        record = layer_record(layer, result, self._options.anchor, time.monotonic() - start)
        return Outcome({**record, **self._place()}, arrays)

    def close(self) -> None:
        self._weights.close()

    def _place(self) -> dict[str, str]:
        place = {"device": self._device.type}
        return {**place, "instead_of": self._instead_of} if self._instead_of else place
