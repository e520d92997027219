"""The merge of a whole checkpoint: read a tensor of every model, merge it, write it, take the next."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from analysis.errors import NotFiniteError
from globa_tui import __version__
from globa_tui.jobs.card import model_card
from globa_tui.jobs.device import resolve_device
from globa_tui.jobs.merge_layers import LayerMerger, make_merger
from globa_tui.jobs.progress import Listener, Progress
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.sources import open_index, require_unchanged, sources_of
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer, TensorReader, open_checkpoint
from store.checkpoints.dtypes import FLOATING
from store.errors import CheckpointError, RunIncompleteError
from store.merged import MergedWriter, OutputPlan, OutputTensor, is_tokenizer_file, plan_output, sidecar_files
from store.run import Run

__all__ = ["MergeOptions", "MergePlan", "MergeResult", "Progress", "plan_merge", "run_merge"]

DTYPE_CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_TORCH_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclasses.dataclass(frozen=True)
class MergeOptions:
    """What does not change the bytes of a merge."""

    overwrite: bool = False
    device: str = "auto"
    download: bool = False
    allow_failed: bool = False
    """Merge layers whose analysis failed as if they were no matrices; NaN and infinity then pass through."""
    status_folder: Path | None = None
    """Run folder in which the job shows its status; None for a merge that nobody follows."""


@dataclasses.dataclass(frozen=True)
class MergePlan:
    """A merge that can be carried out: what is read, and every tensor that will be written."""

    recipe: Recipe
    index: Index
    run: Run | None
    output: OutputPlan


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


def plan_merge(recipe: Recipe, options: MergeOptions) -> MergePlan:
    """Open everything that a merge reads, and check it.

    Raises
    ------
    RunError
        The run is incomplete, damaged, or its sources have changed.
    MismatchError
        The checkpoints do not fit each other.
    """
    run = Run.open(recipe.run) if recipe.run is not None else None
    base, fine_tuned = (recipe.base, recipe.fine_tuned)
    if run is not None:
        recorded = sources_of(run.manifest)
        base, fine_tuned = base or recorded[0], fine_tuned or recorded[1]
    index = open_index(base or "", fine_tuned, download=options.download)
    index.require_mergeable()
    if run is not None:
        require_unchanged(run.manifest, index, run.path)
        _require_analysed(run, allow_failed=options.allow_failed)
    tensors = [OutputTensor(layer.name, _code(layer.dtype, recipe.dtype), layer.shape) for layer in index.layers]
    return MergePlan(recipe, index, run, plan_output(tensors, recipe.shard_size))


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
    with Reporter("merge", options.status_folder, listener) as reporter:
        on_start(reporter)
        plan = plan_merge(recipe, options)
        merger = make_merger(plan.recipe, plan.index, plan.run, resolve_device(options.device))
        with MergedWriter(
            out,
            plan.output,
            metadata={"format": "pt", "merged_by": f"globa-tui {__version__}"},
            overwrite=options.overwrite,
            protected=[checkpoint.path for checkpoint in (plan.index.base, *plan.index.fine_tuned)],
        ) as writer:
            _Merge(plan, merger, options, writer, reporter).run()
            _add_texts(writer, plan)
            writer.finish()
        result = MergeResult(
            out=out,
            tensors=len(plan.index.layers),
            nbytes=plan.output.nbytes,
            passed_through=tuple(merger.passed_through),
            unmatched=tuple(str(o) for o in recipe.unmatched(map(dataclasses.asdict, plan.index.layers))),
        )
        reporter.complete(f"merged {result.tensors} tensors into {out}", output=str(out))
        return result


class _Merge:
    """One pass over the tensors of the base."""

    def __init__(
        self, plan: MergePlan, merger: LayerMerger, options: MergeOptions, writer: MergedWriter, reporter: Reporter
    ) -> None:
        self.plan, self.merger, self.options = plan, merger, options
        self.writer, self.reporter = writer, reporter
        self.codes = {tensor.name: tensor.dtype for tensor in plan.output.tensors}
        self.by_name = {layer.name: layer for layer in plan.index.layers}

    def run(self) -> None:
        """Merge and write every tensor."""
        layers = self.plan.index.layers
        sizes = [self._size(layer) for layer in layers]
        rounds = 1 + self.merger.passes
        self.reporter.begin(total=rounds * len(layers), cost=float(rounds * sum(sizes)))
        with ExitStack() as stack:
            base = stack.enter_context(TensorReader(self.plan.index.base))
            tuned = [stack.enter_context(TensorReader(checkpoint)) for checkpoint in self.plan.index.fine_tuned]
            for _ in range(self.merger.passes):
                for layer, size in zip(layers, sizes, strict=True):
                    self.reporter.layer_started(layer.name)
                    self._show(layer, base, tuned)
                    self.reporter.layer_ended(size)
                self.merger.end_pass()
            for layer, size in zip(layers, sizes, strict=True):
                self.reporter.layer_started(layer.name)
                self.writer.write(layer.name, self._merged(layer, base, tuned))
                self.reporter.layer_ended(size)

    def _show(self, layer: Layer, base: TensorReader, tuned: Sequence[TensorReader]) -> None:
        """Show one tensor to a method that looks at the whole model first; a tied one is not counted twice."""
        if layer.tied_to is None and layer.dtype in FLOATING:
            weight, models = self._read(layer, base, tuned)
            self.merger.see(layer, weight, models)

    def _read(
        self, layer: Layer, base: TensorReader, tuned: Sequence[TensorReader]
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """The tensor of the base and of every model; NaN and infinity are refused unless they may pass."""
        weight = base.read(layer.name)
        models = [
            reader.read(name) if name is not None else None
            for reader, name in zip(tuned, layer.fine_tuned, strict=True)
        ]
        if not self.options.allow_failed:
            self._require_finite(layer, weight, models)
        return weight, models

    def _merged(self, layer: Layer, base: TensorReader, tuned: Sequence[TensorReader]) -> torch.Tensor:
        """The finished tensor; a tied one is merged as the tensor it is tied to, so that they stay equal."""
        source = self.by_name.get(layer.tied_to or "", layer)
        code = self.codes[layer.name]
        if layer.dtype not in FLOATING:
            return base.read(source.name)
        weight, models = self._read(source, base, tuned)
        merged = self.merger.merge(source, weight, models)
        if not (self.options.allow_failed or bool(torch.isfinite(merged).all())):
            msg = f"{source.name}: the merged tensor is not finite though every source is; use smaller coefficients"
            raise CheckpointError(msg)
        return merged.to("cpu", _TORCH_DTYPES.get(code, weight.dtype)).reshape(layer.shape).contiguous()

    def _require_finite(self, layer: Layer, weight: torch.Tensor, models: Sequence[torch.Tensor | None]) -> None:
        index = self.plan.index
        named = zip((index.base, *index.fine_tuned), (layer.name, *layer.fine_tuned), (weight, *models), strict=True)
        for checkpoint, name, tensor in named:
            bad = _not_finite(tensor) if tensor is not None else 0
            if tensor is not None and bad:
                msg = (
                    f"{checkpoint.path}: tensor {name} holds {bad} NaN or infinite entries of {tensor.numel()}; "
                    "mend the source, or let them through with --allow-failed"
                )
                raise NotFiniteError(msg)

    @staticmethod
    def _size(layer: Layer) -> int:
        size = 1
        for side in layer.shape:
            size *= side
        return size


def _not_finite(tensor: torch.Tensor, chunk: int = 1 << 22) -> int:
    """Number of NaN and infinite entries."""
    parts = torch.split(tensor.reshape(-1), chunk)
    return sum(
        part.numel() - int(torch.isfinite(part if part.dtype == torch.float64 else part.float()).sum())
        for part in parts
    )


def _require_analysed(run: Run, *, allow_failed: bool) -> None:
    states: Mapping[str, list[str]] = {"pending": [], "failed": []}
    for record in run.records():
        if record["status"] in states:
            states[record["status"]].append(str(record["name"]))
    if states["pending"]:
        count, first = len(states["pending"]), states["pending"][0]
        msg = f"{run.path}: {count} layers are not analysed yet (first: {first}); `globa-tui resume {run.path}` first"
        raise RunIncompleteError(msg)
    if states["failed"] and not allow_failed:
        count, first = len(states["failed"]), states["failed"][0]
        msg = (
            f"{run.path}: the analysis of {count} layers failed (first: {first}); mend the source and resume, "
            "or --allow-failed averages them"
        )
        raise RunIncompleteError(msg)


def _code(base: str, wanted: str | None) -> str:
    """Safetensors code of an output tensor: the base's, or the wanted one for floating tensors."""
    return DTYPE_CODES[wanted] if wanted is not None and base in {*DTYPE_CODES.values(), "F8_E4M3", "F8_E5M2"} else base


def _add_texts(writer: MergedWriter, plan: MergePlan) -> None:
    """Everything beside the weights: config, tokenizer, recipe and card."""
    for source in _sidecars(plan):
        if source.name == "config.json" and plan.recipe.dtype is not None:
            writer.add_text(source.name, _with_dtype(plan.index.base.config, plan.recipe.dtype))
        else:
            writer.copy_file(source)
    writer.add_text("globa_recipe.yaml", _absolute(plan).to_yaml())
    writer.add_text("README.md", model_card(plan.recipe, plan.index))


def _sidecars(plan: MergePlan) -> list[Path]:
    """Small files of the base, with the tokenizer's from where the recipe says."""
    files = sidecar_files(plan.index.base)
    if plan.recipe.tokenizer_from is None:
        return list(files)
    other = sidecar_files(open_checkpoint(plan.recipe.tokenizer_from))
    return [f for f in files if not is_tokenizer_file(f)] + [f for f in other if is_tokenizer_file(f)]


def _with_dtype(config: Mapping[str, object], dtype: str) -> str:
    key = "dtype" if "dtype" in config else "torch_dtype"
    return json.dumps({**config, key: dtype}, indent=2, ensure_ascii=False) + "\n"


def _absolute(plan: MergePlan) -> Recipe:
    """The recipe with places that mean the same from any folder."""
    recipe, index = plan.recipe, plan.index
    if recipe.tokenizer_from is not None:
        place = open_checkpoint(recipe.tokenizer_from).path.absolute()
        recipe = dataclasses.replace(recipe, tokenizer_from=str(place))
    if recipe.run is not None and plan.run is not None:
        return dataclasses.replace(recipe, run=str(plan.run.path.absolute()))
    return dataclasses.replace(
        recipe,
        base=str(index.base.path.absolute()),
        fine_tuned=tuple(str(checkpoint.path.absolute()) for checkpoint in index.fine_tuned),
    )
