"""From the names of checkpoints to an index and the manifest of a run. Free of torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from globa_tui import __version__
from globa_tui.jobs.settings import AnalysisSettings
from store.checkpoints import Checkpoint, build_index, open_checkpoint
from store.errors import RunDamagedError, RunForeignError

if TYPE_CHECKING:
    from store.checkpoints import Index
    from store.run import Run


def open_index(base: str, fine_tuned: Sequence[str], *, download: bool = False, vocab: str = "base") -> Index:
    """Index a base and its fine-tunes from their headers alone; what does not fit stands in its findings.

    `vocab` says whose tokens a merged model has where they differ: base, union, ft1, ft2 and so on.
    """
    opened = [open_checkpoint(source, download=download) for source in (base, *fine_tuned)]
    return build_index(opened[0], opened[1:], vocab)


def run_manifest(
    index: Index, settings: AnalysisSettings, warnings: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The manifest of an analysis: what it is computed from, how, and which layers there are."""
    roles = ["base", *(f"fine-tune {number}" for number in range(1, len(index.fine_tuned) + 1))]
    checkpoints = [index.base, *index.fine_tuned]
    return {
        "versions": versions(),
        "sources": [source_entry(role, checkpoint) for role, checkpoint in zip(roles, checkpoints, strict=True)],
        "settings": settings.for_tasks(len(index.fine_tuned)).identity(),
        "layers": [dataclasses.asdict(layer) for layer in index.layers],
        "findings": [*(dataclasses.asdict(finding) for finding in index.findings), *warnings],
    }


def source_entry(role: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """What identifies one checkpoint: size, time and header hash of every file."""
    return {
        "role": role,
        "source": checkpoint.source,
        "path": str(checkpoint.path.absolute()),
        "files": [
            {
                "name": file.path.name,
                "size": file.size,
                "mtime_ns": file.mtime_ns,
                "header_sha256": file.header_sha256,
            }
            for file in checkpoint.files
        ],
    }


def run_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of what decides the numbers of a run: files of the sources (size, time, header), settings, versions."""
    sources = [source["files"] for source in manifest["sources"]]
    parts = [sources, manifest["settings"], manifest.get("versions")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    found = {"globa-tui": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in ("torch", "numpy", "h5py")}


def sources_of(manifest: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Paths of the base and the fine-tunes that a run was computed from."""
    paths = [source.get("path") for source in manifest["sources"]]
    if len(paths) < 2 or not all(isinstance(path, str) and path for path in paths):
        msg = f"the manifest of the run names its sources as {paths!r:.200}; restore it from a copy, or analyse again"
        raise RunDamagedError(msg)
    return paths[0], tuple(paths[1:])


def require_unchanged(manifest: Mapping[str, Any], index: Index, run: Path) -> None:
    """Refuse sources whose files are not the ones that the run was computed from; an index may be of the base alone.

    Raises
    ------
    RunForeignError
        Naming the file and what differs. The time of a file may differ when the checkpoint lies at another place, for a
        copy is the same checkpoint; at the same place it was written anew.
    """
    checkpoints = (index.base, *index.fine_tuned)
    entries = manifest["sources"] if index.fine_tuned else manifest["sources"][:1]
    if len(checkpoints) != len(entries):
        msg = f"{run}: computed from {len(entries)} models, not from {len(checkpoints)}; name the same ones"
        raise RunForeignError(msg)
    for entry, checkpoint in zip(entries, checkpoints, strict=True):
        now = {file.path.name: file for file in checkpoint.files}
        for file in _files(entry, run):
            found = now.get(file["name"])
            if found is None or (found.size, found.header_sha256) != (file["size"], file["header_sha256"]):
                size = "missing" if found is None else f"{found.size:,} bytes"
                _refuse(checkpoint, file["name"], run, f"{file['size']:,} bytes then, {size} now")
            if str(checkpoint.path.absolute()) == entry["path"] and found.mtime_ns != file["mtime_ns"]:
                _refuse(checkpoint, file["name"], run, "it was written since")


def require_layers(run: Run, index: Index) -> None:
    """Refuse a run whose analysed layers are not those of its sources, which a merge would leave out without a word.

    Raises
    ------
    RunForeignError
        Naming the first layer that differs.
    """
    shapes = {layer.name: list(layer.shape) for layer in index.layers}
    for record in run.records():
        name, shape = record["name"], record.get("shape")
        if record["status"] == "done" and shapes.get(name) != shape:
            found = "there is none" if name not in shapes else f"there it is {shapes[name]}"
            msg = (
                f"{run.path}: its layer {name} of {shape!r:.80} is not one of {index.base.path} ({found}); restore "
                "the run's run.json from a copy, or analyse again with --fresh"
            )
            raise RunForeignError(msg)


def _files(entry: Mapping[str, Any], run: Path) -> list[dict[str, Any]]:
    """The files of a source in the manifest, which a stranger may have written."""
    kinds = {"name": str, "size": int, "header_sha256": str, "mtime_ns": int}
    found = entry.get("files")
    whole = isinstance(found, list) and all(
        isinstance(file, dict) and all(isinstance(file.get(key), kind) for key, kind in kinds.items()) for file in found
    )
    if not whole:
        msg = f"{run}: its manifest does not say which files {entry.get('role')!r:.80} had; analyse again with --fresh"
        raise RunDamagedError(msg)
    return found or []


def _refuse(checkpoint: Checkpoint, file: str, run: Path, why: str) -> NoReturn:
    msg = (
        f"{checkpoint.path}: {file} is not the file that {run} was computed from ({why}); "
        "restore it, or analyse again with --fresh"
    )
    raise RunForeignError(msg)
