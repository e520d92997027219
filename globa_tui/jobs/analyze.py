"""The analysis of a whole checkpoint: read a layer, analyse it, keep it, take the next, each beside the others."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from globa_tui.engine.memory import Memory
from globa_tui.engine.open import Engine, open_engine
from globa_tui.engine.work import Batch, batches
from globa_tui.estimate import analysed, most_factor_bytes
from globa_tui.jobs.layer_station import AnalysisWork, Outcome
from globa_tui.jobs.progress import Listener, Progress, matrix_cost
from globa_tui.jobs.records import record_head
from globa_tui.jobs.relatedness import unrelated_warnings
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.resources import analysis_limit, memory_trouble
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, SettingsError
from globa_tui.jobs.sources import open_index, run_manifest
from globa_tui.jobs.watch import Watch
from store.checkpoints import Index, Layer
from store.errors import DiskFullError
from store.files import free_bytes
from store.run import RunWriter, run_folder

__all__ = ["Progress", "Summary", "run_analysis"]

_MANY_LAYERS = 256
"""From so many layers on, small ones share a file; below, each has its own and is written at once."""
_WORK_PER_WRITE = 4.0
"""Small layers wait until their work took this many times as long as the last write."""
_GROUP_SECONDS = 1.0
_GROUP_LAYERS = 64
_GROUP_BYTES = 1 << 22
"""Most that waits to be written; what is larger goes at once."""
_TOGETHER = 16
"""Of many small layers, so many are handed from one thread to the next at a time."""
_TOGETHER_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of an analysis."""

    done: int
    failed: tuple[str, ...]
    """Names of the layers that could not be analysed; the reasons stand in their records."""
    skipped: int
    computed: int
    """Layers computed now, not by an earlier start."""
    warnings: tuple[str, ...]


def run_analysis(
    request: AnalysisRequest,
    listener: Listener = lambda progress: None,
    on_start: Callable[[Reporter], None] = lambda reporter: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Analyse what is not yet finished of a run.

    Parameters
    ----------
    request
        Checkpoints, settings and the run folder.
    listener
        Called with the progress after every layer.
    on_start
        Given the reporter before the first layer, so that a signal handler can stop the job.
    warn
        Given every warning about the checkpoints before the first layer.

    Raises
    ------
    MismatchError
        The checkpoints do not fit each other.
    RunError
        The run is busy, damaged, or was started from something else.
    CheckpointError, DiskFullError
        A source cannot be read, or the run cannot be written. What was finished stays.
    JobCancelledError
        The job was asked to stop.
    """
    settings = request.settings.for_tasks(len(request.fine_tuned))
    index = open_index(request.base, request.fine_tuned, download=request.download, vocab=settings.vocab)
    index.require_mergeable()
    with open_engine(request.engine, settings.device, warn) as engine:
        warnings = unrelated_warnings(index)
        for warning in warnings:
            warn(str(warning["message"]))
        chosen = _choose(index, settings)
        _look_at_memory([layer for layer in chosen if layer is not None], settings, engine, warn)
        folder = run_folder(request.store)
        resumes = (folder / "run.json").exists() and not request.fresh
        if not resumes:
            _require_space(folder, settings, chosen)
        with (
            RunWriter.create_or_resume(folder, run_manifest(index, settings, warnings), fresh=request.fresh) as writer,
            Reporter("analyze", writer.path, listener, writer.heartbeat) as reporter,
        ):
            on_start(reporter)
            if resumes:
                left = [layer if layer and layer.index not in writer.finished else None for layer in chosen]
                _require_space(folder, settings, left)
            job = _Analysis(index, settings, engine, writer, reporter)
            job.run(chosen)
            return job.summary(tuple(str(warning["message"]) for warning in warnings))


def _choose(index: Index, settings: AnalysisSettings) -> list[Layer | None]:
    """Per tensor of the base: the layer when it is to be analysed, else None."""
    names = {layer["name"] for layer in analysed([dataclasses.asdict(layer) for layer in index.layers], settings)}
    if not names:
        kinds = ", ".join(dict.fromkeys(layer.kind for layer in index.layers if layer.role == "matrix")) or "none"
        msg = f"--include and --exclude leave no matrix to analyse; kinds there are: {kinds}"
        raise SettingsError(msg)
    return [layer if layer.name in names else None for layer in index.layers]


def _require_space(folder: Path, settings: AnalysisSettings, layers: Sequence[Layer | None]) -> None:
    """Refuse to start when the factors of these layers could not fit on the disk."""
    if not settings.factors:
        return
    needed = most_factor_bytes([dataclasses.asdict(layer) for layer in layers if layer is not None], settings)
    free = free_bytes(folder)
    if needed > free:
        raise DiskFullError(folder, needed, free, cure="use --no-factors, or a --store on a larger disk")


def _look_at_memory(
    layers: Sequence[Layer], settings: AnalysisSettings, engine: Engine, warn: Callable[[str], None]
) -> None:
    """Warn of a layer that may not fit into memory, and refuse one that cannot."""
    for text, refuse in memory_trouble(layers, settings.precision, engine.devices):
        if refuse:
            raise SettingsError(text)
        warn(text)


class _Analysis:
    """One pass over the layers of an index."""

    def __init__(
        self, index: Index, settings: AnalysisSettings, engine: Engine, writer: RunWriter, reporter: Reporter
    ) -> None:
        self.index, self.settings, self.engine = index, settings, engine
        self.writer, self.reporter = writer, reporter
        self.pending = _Pending(writer, reporter)
        self.watch = Watch(reporter, writer.path, memory=bool(engine.devices))

    def run(self, chosen: Sequence[Layer | None]) -> None:
        layers = [layer for layer in chosen if layer is not None]
        left = [layer for layer in layers if layer.index not in self.writer.finished]
        self.reporter.begin(
            total=len(layers),
            cost=sum(matrix_cost(layer.shape) for layer in layers),
            done=len(layers) - len(left),
            cost_done=sum(matrix_cost(layer.shape) for layer in layers if layer.index in self.writer.finished),
        )
        self._skip(chosen)
        try:
            self._analyse(left)
        finally:
            self.pending.flush()
        failed = self.reporter.progress.failed
        self.reporter.complete(f"{failed} layers failed" if failed else "all layers analysed")

    def _analyse(self, layers: Sequence[Layer]) -> None:
        work = AnalysisWork(self.index, self.settings)
        tasks = [work.task(layer, self.engine.device) for layer in layers]
        memory = Memory(analysis_limit(layers, self.settings.precision))
        with self.engine.run(
            work, batches(tasks, self.engine.most(self._together()), _TOGETHER_BYTES), memory, self._start
        ) as results:
            for task, outcome in results:
                self._keep(self.index.layers[task.item], outcome)
                # Else it lives on while the next one is computed.
                del outcome

    def _together(self) -> int:
        return _TOGETHER if len(self.index.layers) >= _MANY_LAYERS else 1

    def _start(self, batch: Batch) -> None:
        """Called before a batch is computed, in the thread that does so."""
        layers = [self.index.layers[task.item] for task in batch]
        self.watch.wait(batch, {layer.index: self._most_bytes(layer) for layer in layers})
        self.reporter.layer_started(layers[0].name)

    def _keep(self, layer: Layer, outcome: Outcome) -> None:
        if outcome.record["status"] == "failed":
            self.pending.flush()
            self.writer.write_record(outcome.record)
            self.reporter.layer_ended(matrix_cost(layer.shape), failed=True)
        else:
            self.pending.add(outcome, matrix_cost(layer.shape))
        self.watch.written(layer.index)

    def _most_bytes(self, layer: Layer) -> int:
        return most_factor_bytes([dataclasses.asdict(layer)], self.settings) if self.settings.factors else 0

    def summary(self, warnings: tuple[str, ...]) -> Summary:
        records = self.writer.records.values()
        return Summary(
            done=sum(record["status"] == "done" for record in records),
            failed=tuple(str(record["name"]) for record in records if record["status"] == "failed"),
            skipped=sum(record["status"] == "skipped" for record in records),
            computed=self.pending.written,
            warnings=warnings,
        )

    def _skip(self, chosen: Sequence[Layer | None]) -> None:
        """Record why every other tensor is not analysed."""
        self.writer.write_records(
            [
                {**record_head(layer, "skipped"), "reason": _skip_reason(layer)}
                for layer, choice in zip(self.index.layers, chosen, strict=True)
                if choice is None and layer.index not in self.writer.finished
            ]
        )


class _Pending:
    """Finished layers on their way to the disk: a large one at once, small ones many to a file.

    Writing costs milliseconds whatever the size. So layers wait until their work has taken some times as long as the
    last write did, at most a second. A layer is counted when it is written.
    """

    def __init__(self, writer: RunWriter, reporter: Reporter) -> None:
        self._writer, self._reporter = writer, reporter
        self._grouped = len(writer.manifest["layers"]) >= _MANY_LAYERS
        self._items: list[Outcome] = []
        self._bytes = 0
        self._cost = 0.0
        self._last_write = 0.0
        self.written = 0

    def add(self, outcome: Outcome, cost: float) -> None:
        """Take a finished layer; it is written now, or with the next ones."""
        self._items.append(outcome)
        self._cost += cost
        self._bytes += outcome.nbytes
        patience = min(_WORK_PER_WRITE * self._last_write, _GROUP_SECONDS)
        full = self._bytes > _GROUP_BYTES or len(self._items) >= _GROUP_LAYERS
        if not self._grouped or full or self._reporter.estimator.elapsed() >= patience:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._items:
            items, cost = self._items, self._cost
            self._items, self._cost, self._bytes = [], 0.0, 0
            start = time.monotonic()
            self._writer.write_layers([(item.record, item.arrays) for item in items])
            self._last_write = time.monotonic() - start
            self.written += len(items)
            self._reporter.layer_ended(cost, count=len(items))


def _skip_reason(layer: Layer) -> str:
    if layer.tied_to:
        return f"tied to {layer.tied_to}"
    if layer.role == "vector":
        return "not a matrix: merged by --skip-weights"
    if layer.role == "other":
        return f"{len(layer.shape)}-D {layer.dtype}: not analysed"
    if all(name is None for name in layer.fine_tuned):
        return "unchanged in every fine-tune"
    return "left out by --include or --exclude"
