"""The job that runs models on texts, keeps their hidden states, and measures how far apart they are."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globa_tui.diagnostics import printable
from globa_tui.jobs.client import require_alone
from globa_tui.jobs.progress import Listener
from globa_tui.jobs.reporter import Reporter
from globa_tui.jobs.representation import POSITIONS, derive
from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sources import source_entry
from globa_tui.jobs.texts import Drawn, draw
from globa_tui.jobs.watch import Watch
from store.checkpoints import Checkpoint, open_checkpoint
from store.errors import MismatchError, RunForeignError, RunNotFoundError
from store.run import Array, Run, read_states, run_folder, write_result, write_states

if TYPE_CHECKING:
    import torch

    from globa_tui.jobs.hidden_states import States

DTYPES = ("auto", "float32", "bfloat16", "float16")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class RepresentRequest:
    """What to run on what."""

    base: str
    fine_tuned: tuple[str, ...]
    data: tuple[Path, ...]
    store: Path | None = None
    """Where hidden states and results are kept; None keeps nothing."""
    samples: int = 5
    """Datapoints per file; the paper takes 5."""
    seed: int = 0
    """Of the choice of datapoints."""
    text_field: str | None = None
    """Key of the text in JSON lines."""
    max_tokens: int = 512
    """Longer inputs are cut."""
    batch: int = 8
    """Inputs that run together."""
    dtype: str = "auto"
    """`float32`, `bfloat16`, `float16`, or `auto`: float32 on a CPU, the base's type elsewhere."""
    device: str = "auto"
    position: str = "last"
    """Whose distances answer: `last` or `mean`. Both are measured."""
    last_only: bool = False
    """Leave the layers before the last out."""
    select: int | None = None
    """How many fine-tunes to choose."""
    budget: float | None = None
    """Distortion that a merge may have, for Corollary 1."""
    download: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        for flag, value in (
            ("--samples", self.samples),
            ("--max-tokens", self.max_tokens),
            ("--batch-size", self.batch),
        ):
            if value < 1:
                msg = f"{flag} is {value}; it is 1 at least"
                raise SettingsError(msg)
        for flag, name, known in (("--dtype", self.dtype, DTYPES), ("--position", self.position, POSITIONS)):
            if name not in known:
                msg = f"{flag} is {name!r}; choose {', '.join(known[:-1])} or {known[-1]}"
                raise SettingsError(msg)
        count = len(self.fine_tuned)
        if self.select is not None and not 2 <= self.select <= count:
            msg = f"--select is {self.select}; of {count} fine-tunes 2 to {count} can be chosen"
            raise SettingsError(msg)
        if self.select is not None and count < 3:
            msg = "--select needs three fine-tunes to choose from: HiddenSim is undefined for two"
            raise SettingsError(msg)
        if self.budget is not None and not self.budget >= 0:
            msg = f"--budget is {self.budget}; a distortion is 0 or more"
            raise SettingsError(msg)


def run_represent(
    request: RepresentRequest,
    listener: Listener = lambda progress: None,
    on_start: Callable[[Reporter], None] = lambda reporter: None,
) -> dict[str, Any]:
    """Run every model that was not yet run on these inputs, and derive all distances.

    Parameters
    ----------
    request
        Models, data and settings.
    listener
        Called with the progress, in inputs of all models.
    on_start
        Called once with what can stop the job.

    Returns
    -------
    The document of ``represent --json``; docs/representations.md names its keys.

    Raises
    ------
    UsageError
        A data file cannot be read.
    CheckpointError, ModelError, MismatchError
        A model cannot be opened or run, or hidden states of models differ in shape.
    RunForeignError
        The run was computed from models that are not among these.
    RunBusyError, DiskFullError
        Another such job writes there, or the disk is full.
    JobCancelledError
        The job was asked to stop; models that were run are kept.

    Notes
    -----
    Models are loaded one after the other. Beside one model, memory holds the states of all: models × inputs × layers ×
    width × 8 bytes; `last_only` leaves one layer of it.
    """
    from globa_tui.jobs.device import resolve_device

    drawn = draw(request.data, request.samples, request.seed, request.text_field)
    opened = [open_checkpoint(source, download=request.download) for source in (request.base, *request.fine_tuned)]
    if request.store is not None:
        _require_same_models(run_folder(request.store), opened)
        require_alone(request.store, "represent")
    device = resolve_device(request.device)
    with Reporter("represent", request.store, listener) as reporter:
        on_start(reporter)
        job = _Job(request, drawn, opened, device, reporter)
        found = job.run()
        _require_same_shape(found, opened)
        result = derive(
            job.about(found), [model.states for model in found], request.position, request.select, request.budget
        )
        if request.store is not None:
            write_result(run_folder(request.store), result, len(opened))
        reporter.complete(f"{sum(not model.reused for model in found)} models run")
    return result


@dataclass(frozen=True)
class _Found:
    """What is known of one model after it ran."""

    states: States
    tokens: list[int]
    tokens_hash: str
    tokenizer: str
    reused: bool


class _Job:
    """Gets the hidden states of one model after the other."""

    def __init__(
        self,
        request: RepresentRequest,
        drawn: list[Drawn],
        models: list[Checkpoint],
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self._request, self._drawn, self._models, self._device = request, drawn, models, device
        self._reporter, self._watch = reporter, Watch(reporter, None, memory=True)
        self._texts = [text for one in drawn for text in one.texts]
        self._folder = run_folder(request.store) if request.store is not None else None
        self._dtype = _dtype(request.dtype, models[0], device.type)

    def run(self) -> list[_Found]:
        """The states of every model."""
        inputs = len(self._models) * len(self._texts)
        self._reporter.begin(total=inputs, cost=inputs)
        return [self._states(index) for index in range(len(self._models))]

    def _states(self, index: int) -> _Found:
        """The states of a model, from the store or by running it."""
        identity = self._identity(index)
        kept = read_states(self._folder, index) if self._folder is not None else None
        if kept is not None and kept[0].get("identity") == identity:
            self._reporter.layer_ended(len(self._texts), count=len(self._texts))
            return _from_store(*kept)
        found = self._run(index)
        if self._folder is not None:
            record = {
                "index": index,
                "name": self._name(index),
                "status": "done",
                "identity": identity,
                "layers": list(found.states.layers),
                "tokens": found.tokens,
                "tokens_hash": found.tokens_hash,
                "tokenizer": found.tokenizer,
            }
            write_states(self._folder, record, _arrays(found.states))
        return found

    def about(self, found: Sequence[_Found]) -> dict[str, Any]:
        """What was run on what, for the result."""
        import torch
        import transformers

        first = found[0]
        models = [
            {
                "role": "base" if index == 0 else f"fine-tune {index}",
                "source": model.source,
                "path": str(model.path.absolute()),
                "adapter": model.adapter,
                "tokenizer": one.tokenizer,
                "same_tokens_as_base": one.tokens_hash == first.tokens_hash,
                "reused": one.reused,
                "files": source_entry("", model)["files"],
            }
            for index, (model, one) in enumerate(zip(self._models, found, strict=True))
        ]
        files = [
            {"path": d.path, "unit": d.unit, "datapoints": d.datapoints, "drawn": len(d.texts), "sha256": d.sha256}
            for d in self._drawn
        ]
        request = self._request
        return {
            "schema": 1,
            "models": models,
            "inputs": {
                "count": len(self._texts),
                "files": files,
                "tokens": [min(first.tokens), max(first.tokens)],
                "cut": sum(count >= request.max_tokens for count in first.tokens),
            },
            "settings": {
                "samples": request.samples,
                "seed": request.seed,
                "field": request.text_field,
                "max_tokens": request.max_tokens,
                "dtype": self._dtype,
            },
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    def _run(self, index: int) -> _Found:
        from globa_tui.jobs import hidden_states, loaded_model
        from globa_tui.jobs.loaded_model import ModelError

        name = printable(self._models[index].source)
        self._reporter.layer_started(name)
        folder, whose = self._tokenizer_folder(index)
        tokenizer = loaded_model.load_tokenizer(folder)
        ids = hidden_states.token_ids(tokenizer, self._texts, self._request.max_tokens, name)
        dtype = _torch_dtype(self._dtype)
        self._watch.wait_for_memory(name, self._weights(index) * dtype.itemsize)
        model = loaded_model.load(self._models[index], self._models[0], dtype, self._device)
        pad = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0

        def batch_ended(inputs: int) -> None:
            self._reporter.layer_ended(inputs, count=inputs)
            self._reporter.layer_started(name)

        try:
            states = hidden_states.run_model(
                model, ids, self._request.batch, last_only=self._request.last_only, pad=pad, batch_ended=batch_ended
            )
        except ModelError as error:
            error.add_note(f"model {name}")
            raise
        return _Found(states, [len(one) for one in ids], hidden_states.tokens_hash(ids), whose, reused=False)

    def _weights(self, index: int) -> int:
        """Weights of the model that is loaded: of an adapter the base's."""
        loaded = self._models[0] if self._models[index].adapter else self._models[index]
        return sum(math.prod(header.shape) for header in loaded.tensors.values())

    def _tokenizer_folder(self, index: int) -> tuple[Path, str]:
        """Whose tokenizer a model gets: its own when its folder has one."""
        own = self._models[index].folder
        if index == 0 or any((own / name).is_file() for name in _TOKENIZER_FILES):
            return own, "own"
        return self._models[0].folder, "base"

    def _identity(self, index: int) -> dict[str, Any]:
        """Everything that the states of a model depend on, as JSON gives it back."""
        model, request = self._models[index], self._request
        parts = [model, self._models[0]] if model.adapter else [model]
        files = [
            [file["name"], file["size"], file["mtime_ns"], file["header_sha256"]]
            for part in parts
            for file in source_entry("", part)["files"]
        ]
        small = [part.folder / "config.json" for part in parts]
        small += [self._tokenizer_folder(index)[0] / name for name in _TOKENIZER_FILES]
        identity = {
            "files": files,
            "config": hashlib.sha256(b"\0".join(path.read_bytes() for path in small if path.is_file())).hexdigest(),
            "inputs": [one.sha256 for one in self._drawn],
            "dtype": self._dtype,
            "max_tokens": request.max_tokens,
            "last_only": request.last_only,
        }
        read_back: dict[str, Any] = json.loads(json.dumps(identity))
        return read_back

    def _name(self, index: int) -> str:
        return "base" if index == 0 else f"fine-tune {index}"


def _dtype(wanted: str, base: Checkpoint, device: str) -> str:
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return "float32"
    sizes: dict[str, int] = {}
    for header in base.tensors.values():
        sizes[header.dtype] = sizes.get(header.dtype, 0) + header.nbytes
    return _TORCH_NAMES.get(max(sizes, key=lambda name: sizes[name]), "float32")


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    found: torch.dtype = getattr(torch, name)
    return found


def _arrays(states: States) -> dict[str, Array]:
    where = {"last": "at the last token of each input", "mean": "averaged over the tokens of each input"}
    return {
        f"hidden/{name}": Array(
            getattr(states, name).numpy(), "hidden", f"hidden states {about}", ("input", "layer", "width")
        )
        for name, about in where.items()
    }


def _from_store(record: Mapping[str, Any], arrays: Mapping[str, Any]) -> _Found:
    import torch

    from globa_tui.jobs.hidden_states import States

    last, mean = (torch.from_numpy(arrays[f"hidden/{name}"]) for name in ("last", "mean"))
    states = States(last, mean, tuple(record["layers"]))
    return _Found(states, record["tokens"], record["tokens_hash"], record["tokenizer"], reused=True)


def _require_same_models(folder: Path, opened: Sequence[Checkpoint]) -> None:
    """Refuse a run of models that are not among these: its tables would stand beside distances of others."""
    try:
        manifest = Run.open(folder).manifest
    except RunNotFoundError:
        return
    here = {_fingerprint(source_entry("", model)["files"]) for model in opened}
    for source in manifest["sources"]:
        if _fingerprint(source["files"]) not in here:
            msg = (
                f"{folder}: was computed from {printable(source.get('source'))}, which is not among these models; "
                "name it too, or use another --store"
            )
            raise RunForeignError(msg)


def _fingerprint(files: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    return tuple((file["name"], file["size"], file["header_sha256"]) for file in files)


def _require_same_shape(found: Sequence[_Found], opened: Sequence[Checkpoint]) -> None:
    first = found[0].states
    for one, model in zip(found, opened, strict=True):
        if (one.states.last.shape, one.states.layers) != (first.last.shape, first.layers):
            ours, theirs = (list(states.last.shape[1:]) for states in (one.states, first))
            msg = (
                f"{model.source}: its hidden states are {ours} (layers, width), those of {opened[0].source} {theirs}; "
                "only models of one shape can be compared"
            )
            raise MismatchError(msg)
