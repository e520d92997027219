"""The merge of a whole checkpoint: read a tensor of every model, merge it, write it, take the next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from analysis.errors import AnalysisError
from globa_tui import __version__
from globa_tui.jobs.check import CheckReport, check_output
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.device import resolve_device
from globa_tui.jobs.drift import Drift, DriftMeter
from globa_tui.jobs.layer_values import LayerValues, Merged
from globa_tui.jobs.merge_layers import LayerMerger, make_merger
from globa_tui.jobs.merge_plan import MergeOptions, MergePlan, plan_merge
from globa_tui.jobs.merge_texts import add_texts
from globa_tui.jobs.progress import Listener, Progress
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.resources import layer_failure
from globa_tui.jobs.weights import LayerWeights, bad_entries
from globa_tui.recipe import Recipe
from store.checkpoints import Layer
from store.checkpoints.dtypes import FLOATING, torch_dtype
from store.errors import CheckpointError
from store.merged import MergedWriter

__all__ = ["MergeOptions", "MergePlan", "MergeResult", "Progress", "plan_merge", "run_merge"]


@dataclasses.dataclass(frozen=True)
class MergeResult:
    """What came out of a merge."""

    out: Path
    tensors: int
    nbytes: int
    passed_through: tuple[str, ...]
    """Layers whose analysis failed and which were merged as if they were no matrices."""
    unmatched: tuple[str, ...]
    """Overrides that no layer belongs to."""
    resumed: int = 0
    """Tensors that an earlier start of the same merge had written."""
    drift: Mapping[str, Drift] = dataclasses.field(default_factory=dict[str, Drift], repr=False)
    """How far every floating tensor moved."""
    check: CheckReport | None = dataclasses.field(default=None, repr=False)
    """What a look at the result found, when it was asked for."""


def run_merge(
    recipe: Recipe,
    out: Path,
    options: MergeOptions | None = None,
    listener: Listener = lambda progress: None,
    on_start: Callable[[Reporter], None] = lambda reporter: None,
) -> MergeResult:
    """Merge as `recipe` says into the folder `out`, which is complete or absent.

    Raises
    ------
    OutputExistsError
        `out` is there and may not be replaced.
    RunError, MismatchError, CheckpointError, DiskFullError
        See `plan_merge`; nothing appears as `out`.
    JobCancelledError
        The job was asked to stop; nothing appears as `out`.
    """
    options = options or MergeOptions()
    if options.status_folder is not None:
        require_alone(options.status_folder, "merge")
    with Reporter("merge", options.status_folder, listener) as reporter:
        on_start(reporter)
        plan = plan_merge(recipe, options)
        device = resolve_device(options.device)
        merger = make_merger(plan.recipe, plan.index, plan.run, device)
        with MergedWriter(
            out,
            plan.output,
            metadata={"format": "pt", "merged_by": f"globa-tui {__version__}"},
            overwrite=options.overwrite,
            protected=plan.places,
            identity=plan.identity(options, str(device)),
        ) as writer:
            job = _Merge(plan, merger, options, writer, reporter, device)
            job.run()
            add_texts(writer, plan)
            resumed = len(writer.notes)
            writer.finish()
        result = MergeResult(
            out=out,
            tensors=len(plan.output.tensors),
            nbytes=plan.output.nbytes,
            passed_through=tuple(merger.passed_through),
            unmatched=tuple(str(o) for o in recipe.unmatched(map(dataclasses.asdict, plan.index.layers))),
            resumed=resumed,
            drift=job.drift,
            check=_checked(out, plan, job.drift, options) if options.check else None,
        )
        reporter.complete(f"merged {result.tensors} tensors into {out}{_fault(result.check)}", output=str(out))
        return result


def _checked(out: Path, plan: MergePlan, drift: Mapping[str, Drift], options: MergeOptions) -> CheckReport:
    sources = tuple(str(model.path) for model in (plan.index.base, *plan.index.fine_tuned))
    vocabulary = plan.index.vocabulary
    choice = vocabulary.choice if vocabulary is not None else None
    return check_output(out, sources, drift, choice, allow_failed=options.allow_failed)


def _fault(report: CheckReport | None) -> str:
    """The first thing that failed, for a message."""
    failed = [item for item in report.items if item.state == "failed"] if report is not None else []
    return f"; check failed: {failed[0].message}" if failed else ""


class _Merge:
    """One pass over the tensors of the base."""

    def __init__(
        self,
        plan: MergePlan,
        merger: LayerMerger,
        options: MergeOptions,
        writer: MergedWriter,
        reporter: Reporter,
        device: torch.device,
    ) -> None:
        self.plan, self.merger, self.options = plan, merger, options
        self.writer, self.reporter, self.device = writer, reporter, device
        self.codes = {tensor.name: tensor.dtype for tensor in plan.output.tensors}
        self.by_name = {layer.name: layer for layer in plan.index.layers}
        self.drift: dict[str, Drift] = {}

    def run(self) -> None:
        """Merge and write every tensor that an earlier start has not written."""
        layers = self.plan.index.layers
        sizes = [self._size(layer) for layer in layers]
        rounds = 1 + self.merger.passes
        self.reporter.begin(total=rounds * len(layers), cost=float(rounds * sum(sizes)))
        with LayerWeights(self.plan.index, self.device) as weights:
            for _ in range(self.merger.passes):
                for layer, size in zip(layers, sizes, strict=True):
                    self.reporter.layer_started(layer.name)
                    if layer.tied_to is None and layer.dtype in FLOATING:
                        # A tied tensor is not counted twice.
                        self.merger.see(self._values(layer, weights))
                    self.reporter.layer_ended(size)
                self.merger.end_pass()
            for layer, size in zip(layers, sizes, strict=True):
                self.reporter.layer_started(layer.name)
                if not self._is_written(layer):
                    self._write(layer, weights)
                self.reporter.layer_ended(size)

    def _is_written(self, layer: Layer) -> bool:
        """Whether an earlier start wrote the tensor; its drift and its warning are taken from the note."""
        note = self.writer.notes.get((layer.tensor, layer.part))
        if note is None:
            return False
        if "drift" in note:
            self.drift[layer.name] = Drift.from_dict(cast("dict[str, Any]", note["drift"]))
        if note.get("passed_through"):
            self.merger.passed_through.append(layer.name)
        return True

    def _write(self, layer: Layer, weights: LayerWeights) -> None:
        """Merge a tensor and write it; a tied one is merged as the tensor it is tied to, so that they stay equal."""
        source = self.by_name.get(layer.tied_to or "", layer)
        note: dict[str, object] = {}
        before = len(self.merger.passed_through)
        sink = self.writer.start(layer.tensor, part=layer.part)
        if layer.dtype not in FLOATING:
            for piece in weights.copied(source):
                sink.add(piece)
        else:
            drift = DriftMeter(len(self.plan.index.fine_tuned))
            for merged in self._merged(source, weights):
                result = self._finished(layer, source, merged, weights)
                size = drift.add(merged.weight, result, merged.norms)
                if not math.isfinite(size) and not self.options.allow_failed:
                    self._refuse(layer, source, merged.values, result)
                sink.add(result)
            self.drift[layer.name] = drift.drift
            note["drift"] = drift.drift.to_dict()
        if len(self.merger.passed_through) > before:
            note["passed_through"] = True
        sink.end(note)

    def _values(self, layer: Layer, weights: LayerWeights) -> LayerValues:
        return LayerValues(layer, self.plan.index, weights, allow_failed=self.options.allow_failed)

    def _merged(self, source: Layer, weights: LayerWeights) -> Iterator[Merged]:
        try:
            yield from self.merger.merge(self._values(source, weights))
        except Exception as error:
            reason = layer_failure(error)
            if reason is None or isinstance(error, AnalysisError):
                raise
            msg = f"{source.name}: {reason}"
            raise AnalysisError(msg) from error

    def _finished(self, layer: Layer, source: Layer, merged: Merged, weights: LayerWeights) -> torch.Tensor:
        """A range of the merged tensor in the type of the output, with the rows that no method may change."""
        values = merged.values
        for kept in weights.kept(source, merged.first, merged.first + values.numel()):
            values[kept] = merged.weight[kept].to(values.dtype)
        return values.to(torch_dtype(self.codes[layer.tensor]))

    def _refuse(self, layer: Layer, source: Layer, values: torch.Tensor, result: torch.Tensor) -> None:
        """Refuse a result that is not finite."""
        code, bad = self.codes[layer.tensor], bad_entries(result)
        if bad_entries(values):
            msg = f"{source.name}: the merged tensor is not finite though every source is; use smaller coefficients"
            raise CheckpointError(msg)
        if bad:
            msg = f"{layer.name}: {bad} merged values leave the range of {code}; use --dtype bfloat16 or float32"
            raise CheckpointError(msg)

    @staticmethod
    def _size(layer: Layer) -> int:
        size = 1
        for side in layer.shape:
            size *= side
        return size
