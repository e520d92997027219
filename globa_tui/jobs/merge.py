"""The merge of a whole checkpoint: read a tensor of every model, merge it, write it, take the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from analysis.errors import AnalysisError, NotFiniteError
from globa_tui import __version__
from globa_tui.jobs.check import CheckReport, check_output
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.device import resolve_device
from globa_tui.jobs.drift import Drift, measure
from globa_tui.jobs.merge_layers import LayerMerger, make_merger
from globa_tui.jobs.merge_plan import MergeOptions, MergePlan, plan_merge
from globa_tui.jobs.merge_texts import add_texts
from globa_tui.jobs.progress import Listener, Progress
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.resources import layer_failure
from globa_tui.jobs.weights import LayerWeights, Model, Models, bad_entries
from globa_tui.recipe import Recipe
from store.checkpoints import Layer
from store.checkpoints.dtypes import FLOATING
from store.errors import CheckpointError
from store.merged import MergedWriter

__all__ = ["MergeOptions", "MergePlan", "MergeResult", "Progress", "plan_merge", "run_merge"]

_TORCH_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NARROW = frozenset({"F16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
"""Types whose range a merged value may leave."""


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
                    self._show(layer, weights)
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
        note: dict[str, object] = {}
        before = len(self.merger.passed_through)
        merged = self._merged(layer, weights)
        if layer.name in self.drift:
            note["drift"] = self.drift[layer.name].to_dict()
        if len(self.merger.passed_through) > before:
            note["passed_through"] = True
        self.writer.write(layer.tensor, merged, part=layer.part, note=note)

    def _show(self, layer: Layer, weights: LayerWeights) -> None:
        """Show one tensor to a method that looks at the whole model first; a tied one is not counted twice."""
        if layer.tied_to is None and layer.dtype in FLOATING:
            weight, models = self._read(layer, weights)
            self.merger.see(layer, weight, models)

    def _read(self, layer: Layer, weights: LayerWeights) -> tuple[torch.Tensor, list[Model]]:
        """The tensor of the base and of every model; NaN and infinity are refused unless they may pass."""
        weight, models = weights.read(layer)
        if not self.options.allow_failed:
            self._require_finite(layer, weight, models)
        return weight, models

    def _merged(self, layer: Layer, weights: LayerWeights) -> torch.Tensor:
        """The finished tensor; a tied one is merged as the tensor it is tied to, so that they stay equal."""
        source = self.by_name.get(layer.tied_to or "", layer)
        if layer.dtype not in FLOATING:
            return weights.read(source)[0].cpu()
        weight, models = self._read(source, weights)
        try:
            merged = self.merger.merge(source, weight, models)
        except Exception as error:
            reason = layer_failure(error)
            if reason is None or isinstance(error, AnalysisError):
                raise
            msg = f"{source.name}: {reason}"
            raise AnalysisError(msg) from error
        kept = weights.kept_rows(source)
        if kept:
            merged[kept] = weight[kept].to(merged.dtype)
        if not self.options.allow_failed and bad_entries(merged):
            msg = f"{source.name}: the merged tensor is not finite though every source is; use smaller coefficients"
            raise CheckpointError(msg)
        result = merged.to(_TORCH_DTYPES.get(self.codes[layer.tensor], weight.dtype)).reshape(layer.shape)
        self._require_range(layer, result)
        self.drift[layer.name] = measure(weight, result, models)
        return result.cpu().contiguous()

    def _require_range(self, layer: Layer, result: torch.Tensor) -> None:
        code = self.codes[layer.tensor]
        if code in _NARROW and not self.options.allow_failed:
            bad = bad_entries(result)
            if bad:
                msg = f"{layer.name}: {bad} merged values leave the range of {code}; use --dtype bfloat16 or float32"
                raise CheckpointError(msg)

    def _require_finite(self, layer: Layer, weight: torch.Tensor, models: Models) -> None:
        index = self.plan.index
        named = zip((index.base, *index.fine_tuned), (layer.name, *layer.fine_tuned), (weight, *models), strict=True)
        for checkpoint, name, tensor in named:
            bad = bad_entries(tensor)
            if bad:
                msg = (
                    f"{checkpoint.path}: tensor {name} holds {bad} NaN or infinite entries of {weight.numel()}; "
                    "mend the source, or let them through with --allow-failed"
                )
                raise NotFiniteError(msg)

    @staticmethod
    def _size(layer: Layer) -> int:
        size = 1
        for side in layer.shape:
            size *= side
        return size
