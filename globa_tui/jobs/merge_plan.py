"""What a merge will read and write, checked before the first value is read."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

from globa_tui.coefficients import RecipeError
from globa_tui.jobs.base_alone import absent_fine_tunes, alone
from globa_tui.jobs.settings import EngineChoice
from globa_tui.jobs.sources import open_index, require_layers, require_unchanged, run_hash, source_entry, sources_of
from globa_tui.recipe import Recipe
from store.checkpoints import Index, Layer, open_checkpoint
from store.checkpoints.dtypes import BITS, FLOATING
from store.errors import CheckpointError, RunIncompleteError
from store.merged import OutputPlan, OutputTensor, plan_output, require_union_tokens
from store.run import Run

DTYPE_CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclasses.dataclass(frozen=True)
class MergeOptions:
    """What does not change the bytes of a merge."""

    overwrite: bool = False
    device: str = "auto"
    download: bool = False
    allow_failed: bool = False
    """Merge layers whose analysis failed as if they were no matrices; NaN and infinity then pass through."""
    engine: EngineChoice = dataclasses.field(default_factory=EngineChoice)
    check: bool = False
    """Look at the result once more: would it load, is it whole, how far is it from its sources?"""
    status_folder: Path | None = None
    """Run folder in which the job shows its status; None for a merge that nobody follows."""


@dataclasses.dataclass(frozen=True)
class MergePlan:
    """A merge that can be carried out: what is read, and every tensor that will be written."""

    recipe: Recipe
    index: Index
    """Of the base alone where the fine-tunes of a run are neither there nor needed."""
    run: Run | None
    output: OutputPlan

    @property
    def absent(self) -> tuple[str, ...]:
        """Where the fine-tunes were that the merge goes without."""
        return sources_of(self.run.manifest)[1] if self.run is not None and not self.index.fine_tuned else ()

    @property
    def memory(self) -> int:
        """Bytes that the merge takes at most beside the program itself, estimated layer by layer."""
        import torch

        from globa_tui.jobs.merge_layers import layer_memory, make_merger

        merger = make_merger(self.recipe, self.index, self.run, torch.device("cpu"))
        tasks, codes = len(self.index.fine_tuned), {tensor.name: tensor.dtype for tensor in self.output.tensors}

        def taken(layer: Layer) -> int:
            result = math.prod(layer.shape) * BITS[codes[layer.tensor]] // 8
            return result + layer_memory(merger.way(self.index.source_of(layer)), layer, tasks)

        return max(map(taken, self.index.layers), default=0)

    @property
    def places(self) -> list[Path]:
        """Everything that is read, which the output must not replace."""
        places = [model.path for model in (self.index.base, *self.index.fine_tuned)]
        places += [self.run.path] if self.run is not None else []
        if self.recipe.tokenizer_from is not None:
            places.append(open_checkpoint(self.recipe.tokenizer_from).path)
        return places

    @property
    def read(self) -> int:
        """Bytes of all sources."""
        return sum(model.nbytes for model in (self.index.base, *self.index.fine_tuned))

    def absolute(self) -> Recipe:
        """The recipe with places that mean the same from any folder."""
        recipe, index = self.recipe, self.index
        if recipe.tokenizer_from is not None:
            place = open_checkpoint(recipe.tokenizer_from).path.absolute()
            recipe = dataclasses.replace(recipe, tokenizer_from=str(place))
        if recipe.run is not None and self.run is not None:
            moved = recipe.base is not None or recipe.fine_tuned
            path, known = str(self.run.path.absolute()), run_hash(self.run.manifest)
            recipe = dataclasses.replace(recipe, run=path, run_hash=known)
            if not moved:
                return recipe
        return dataclasses.replace(
            recipe,
            base=str(index.base.path.absolute()),
            fine_tuned=tuple(str(checkpoint.path.absolute()) for checkpoint in index.fine_tuned),
        )

    def identity(self, options: MergeOptions, device: str) -> str:
        """Everything that decides the values: an interrupted merge is taken up by one of equal identity only."""
        sources = [source_entry("", model)["files"] for model in (self.index.base, *self.index.fine_tuned)]
        run = self.run.manifest if self.run is not None else {}
        parts = [self.absolute().to_dict(), sources, device, options.allow_failed, run.get("created"), _versions()]
        return json.dumps(parts, sort_keys=True, default=str)


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
    index = _open_index(recipe, options, run)
    index.require_mergeable()
    if run is not None:
        _require_same_run(recipe, run)
        require_unchanged(run.manifest, index, run.path)
        require_layers(run, index)
        _require_analysed(run, allow_failed=options.allow_failed)
    require_union_tokens(index)
    tensors = [OutputTensor(name, output_code(dtype, recipe.dtype), shape) for name, dtype, shape in index.outputs]
    return MergePlan(recipe, index, run, plan_output(tensors, recipe.shard_size))


def _open_index(recipe: Recipe, options: MergeOptions, run: Run | None) -> Index:
    """The index of all checkpoints, or of the base alone where the fine-tunes of a run are neither there nor needed."""
    vocab, download = _vocab(recipe, run), options.download
    if run is None:
        return open_index(recipe.base or "", recipe.fine_tuned, download=download, vocab=vocab)
    base, fine_tuned = sources_of(run.manifest)
    base = recipe.base or base
    try:
        if not recipe.fine_tuned and absent_fine_tunes(recipe, run.manifest, fine_tuned, run.path):
            return alone(run.manifest, open_index(base, (), download=download), run.path)
        return open_index(base, recipe.fine_tuned or fine_tuned, download=download, vocab=vocab)
    except CheckpointError as error:
        if recipe.base is None and "--base" not in str(error):
            error.add_note("if the checkpoints of the run have moved, say where with --base and --fine-tuned")
        raise


def output_code(base: str, wanted: str | None) -> str:
    """Safetensors code of an output tensor: the base's, or the wanted one for floating tensors."""
    return DTYPE_CODES[wanted] if wanted is not None and base in FLOATING else base


def _require_same_run(recipe: Recipe, run: Run) -> None:
    found = run_hash(run.manifest)
    if recipe.run_hash not in (None, found):
        msg = (
            f"{run.path}: is another analysis than the recipe was made with (run_hash {found[:12]}, the recipe says "
            f"{str(recipe.run_hash)[:12]}): sources, settings or versions differ; take run_hash out of the recipe "
            "to merge from this one"
        )
        raise RecipeError(msg)


def _vocab(recipe: Recipe, run: Run | None) -> str:
    """Whose tokens the result has; a run was analysed with its own."""
    if run is None:
        return recipe.vocab or str(recipe.settings.get("vocab", "base"))
    analysed = str(run.manifest["settings"].get("vocab", "base"))
    if recipe.vocab not in (None, analysed):
        msg = f"vocab: {run.path} was analysed with {analysed}, the recipe says {recipe.vocab}; analyse again with it"
        raise RecipeError(msg)
    return analysed


def _versions() -> dict[str, str]:
    import torch

    from globa_tui import __version__

    return {"globa-tui": __version__, "torch": torch.__version__}


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
            f"{run.path}: the analysis of {count} layers failed (first: {first}); mend the source and "
            "analyse again with --fresh, or --allow-failed averages them"
        )
        raise RunIncompleteError(msg)
