"""The merge of a whole checkpoint: read a tensor of every model, merge it, write it, each beside the others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from globa_tui import __version__
from globa_tui.engine.local import LocalEngine
from globa_tui.engine.memory import Memory
from globa_tui.engine.open import Engine, open_engine
from globa_tui.engine.pipeline import Pipeline
from globa_tui.engine.work import Batch, Sized, Work, batches
from globa_tui.jobs.check import CheckReport, check_output
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.drift import Drift
from globa_tui.jobs.layer_merger import Way
from globa_tui.jobs.merge_layers import make_merger
from globa_tui.jobs.merge_plan import MergeOptions, MergePlan, plan_merge
from globa_tui.jobs.merge_station import Finished, MergeWork, PassWork, task_of
from globa_tui.jobs.merge_texts import add_texts
from globa_tui.jobs.progress import Listener, Progress
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.resources import merge_limit
from globa_tui.jobs.watch import Watch
from globa_tui.recipe import Recipe
from store.checkpoints import Layer
from store.checkpoints.dtypes import BITS, FLOATING
from store.merged import MergedWriter

__all__ = ["MergeOptions", "MergePlan", "MergeResult", "Progress", "plan_merge", "run_merge"]


Result = TypeVar("Result", bound=Sized)

_TOGETHER, _TOGETHER_BYTES = 16, 1 << 22
"""Tensors that are handed from one thread to the next at a time, and bytes of them that this takes at most."""


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
    warn: Callable[[str], None] = lambda text: None,
) -> MergeResult:
    """Merge as `recipe` says into the folder `out`, which is complete or absent.

    `listener` is called with the progress after every tensor, `on_start` with the reporter before the first, so that a
    signal handler can stop the job, and `warn` with what is out of the ordinary.

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
        with open_engine(options.engine, options.device, warn) as engine:
            job = _Merge(plan, options, engine, reporter)
            with MergedWriter(
                out,
                plan.output,
                metadata={"format": "pt", "merged_by": f"globa-tui {__version__}"},
                overwrite=options.overwrite,
                protected=plan.places,
                identity=plan.identity(options, engine.device),
            ) as writer:
                job.run(writer)
                add_texts(writer, plan)
                resumed = len(writer.notes)
                writer.finish()
        result = MergeResult(
            out=out,
            tensors=len(plan.output.tensors),
            nbytes=plan.output.nbytes,
            passed_through=job.passed_through,
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
    """One pass over the tensors of the base, after those that the method needs to see the whole model."""

    def __init__(self, plan: MergePlan, options: MergeOptions, engine: Engine, reporter: Reporter) -> None:
        self.plan, self.options, self.engine, self.reporter = plan, options, engine, reporter
        # Made before anything is written, for it refuses parameters that the method does not take.
        self.device = engine.devices[0] if engine.devices else torch.device("cpu")
        self.merger = make_merger(plan.recipe, plan.index, plan.run, self.device)
        self._codes = {tensor.name: tensor.dtype for tensor in plan.output.tensors}
        self._passed: set[str] = set()
        self._drift: dict[str, Drift] = {}

    @property
    def drift(self) -> dict[str, Drift]:
        """How far every floating tensor moved, in the base's order."""
        return {layer.name: self._drift[layer.name] for layer in self.plan.index.layers if layer.name in self._drift}

    @property
    def passed_through(self) -> tuple[str, ...]:
        """Layers that were merged as if they were no matrices, in the base's order."""
        return tuple(layer.name for layer in self.plan.index.layers if layer.name in self._passed)

    def run(self, writer: MergedWriter) -> None:
        """Merge and write every tensor that an earlier start has not written."""
        layers = self.plan.index.layers
        left = [layer for layer in layers if not self._is_written(layer, writer)]
        rounds = 1 + self.merger.passes
        whole = sum(map(_size, layers))
        self.reporter.begin(
            total=rounds * len(layers),
            cost=float(rounds * whole),
            done=len(layers) - len(left),
            cost_done=float(whole - sum(map(_size, left))),
        )
        self._look_first()
        watch = Watch(self.reporter, writer.out.parent, memory=bool(self.engine.devices))
        work = MergeWork.of(self.plan, self.options, self.merger.prepared)
        # Decompositions use all threads by themselves.
        shares = all(self.merger.way(self.plan.index.source_of(layer)) is Way.PARTS for layer in left)
        with self._results(self.engine, work, left, watch, shares=shares) as results:
            for task, finished in results:
                layer = layers[task.item]
                self._write(layer, finished, writer)
                # Else it lives on while the next one is computed.
                del finished
                watch.written(task.item)
                self.reporter.layer_ended(_size(layer))

    def _look_first(self) -> None:
        """Show every tensor to a method that looks at the whole model first; a tied one is not counted twice."""
        layers = self.plan.index.layers
        shown = [layer for layer in layers if layer.tied_to is None and layer.dtype in FLOATING]
        rest = sum(map(_size, layers)) - sum(map(_size, shown))
        work = PassWork(self.merger, self.plan, self.options)
        watch = Watch(self.reporter, None, memory=True)
        for _ in range(self.merger.passes):
            with (
                LocalEngine([self.device], self.options.engine.threads) as engine,
                self._results(engine, work, shown, watch) as results,
            ):
                for task, _seen in results:
                    self.reporter.layer_ended(_size(layers[task.item]))
            self.reporter.layer_ended(rest, count=len(layers) - len(shown))
            self.merger.end_pass()

    def _results(
        self, engine: Engine, work: Work[Result], layers: Sequence[Layer], watch: Watch, *, shares: bool = False
    ) -> Pipeline[Result]:
        index, device = self.plan.index, engine.device
        tasks = [
            task_of(layer, index.source_of(layer), self.merger, device, self._codes[layer.tensor]) for layer in layers
        ]
        together = batches(tasks, engine.most(_TOGETHER), _TOGETHER_BYTES)

        def start(batch: Batch) -> None:
            watch.wait(batch, {task.item: self._nbytes(self.plan.index.layers[task.item]) for task in batch})
            self.reporter.layer_started(batch[0].name)

        return engine.run(work, together, Memory(merge_limit(layers)), start, shares=shares)

    def _nbytes(self, layer: Layer) -> int:
        return _size(layer) * BITS[self._codes[layer.tensor]] // 8

    def _is_written(self, layer: Layer, writer: MergedWriter) -> bool:
        """Whether an earlier start wrote the tensor; its drift and its warning are taken from the note."""
        note = writer.notes.get((layer.tensor, layer.part))
        if note is None:
            return False
        if "drift" in note:
            self._drift[layer.name] = Drift.from_dict(cast("dict[str, Any]", note["drift"]))
        if note.get("passed_through"):
            self._passed.add(layer.name)
        return True

    def _write(self, layer: Layer, finished: Finished, writer: MergedWriter) -> None:
        note: dict[str, object] = {}
        if finished.drift is not None:
            self._drift[layer.name] = finished.drift
            note["drift"] = finished.drift.to_dict()
        if finished.passed_through:
            self._passed.add(layer.name)
            note["passed_through"] = True
        sink = writer.start(layer.tensor, part=layer.part)
        for piece in finished.pieces:
            sink.add(piece)
        sink.end(note)


def _size(layer: Layer) -> int:
    return math.prod(layer.shape)
