"""Writing a run: each layer is on the disk, whole, before its line stands in the summary."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from store import files
from store.errors import RunDamagedError
from store.run import manifest as manifests
from store.run.layer_file import VOLATILE, Array, valid_layers, write_layer_file
from store.run.layout import (
    JOBS,
    LAYERS,
    LOCK,
    MANIFEST,
    REPRESENTATION,
    SUMMARY,
    layer_file,
    layer_file_name,
    run_folder,
)
from store.run.lock import RunLock
from store.run.manifest import Manifest
from store.run.summary import STATUSES, Record, dump_record, extended, head, latest_lines, parse_record

_JOB_FILES_SECONDS = 60.0


class RunWriter:
    """The one writer of a run; made by `create_or_resume`, closed by `close` or `with`.

    Attributes
    ----------
    path : Path
        The run folder.
    manifest : dict
        As on the disk.
    records : dict of int to dict
        Of each layer that is done, failed or skipped, the head of its last record: `index`, `name`, `status`, `error`,
        `reason`, `file`.
    finished : set of int
        Layers that need no work: skipped, or done with a file that is whole.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: RunLock) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._names: dict[int, str] = {layer["index"]: layer["name"] for layer in manifest["layers"]}
        self.records = self._recover()
        self.finished = {index for index, record in self.records.items() if record["status"] != "failed"}
        self._summary = files.AppendFile(path / SUMMARY)

    @classmethod
    def create_or_resume(cls, path: str | Path, manifest: Mapping[str, Any], *, fresh: bool = False) -> RunWriter:
        """Open a run for writing.

        Parameters
        ----------
        path : str or Path
            Name of the run.
        manifest : mapping
            What is to be computed: `sources`, `settings`, `layers`, and what else should be kept.
        fresh : bool
            Throw away what was computed.

        Raises
        ------
        RunBusyError
            Another process writes it.
        RunForeignError
            It was started from other sources, with other settings, or by a newer version.
        RunDamagedError
            Its manifest cannot be read, or layers are there without one.
        DiskFullError, StoreError
            It cannot be written.
        """
        folder = run_folder(path)
        wanted = manifests.complete(manifest)
        _refuse_other_things(folder)
        files.make_folder(folder)
        lock = RunLock(folder)
        try:
            found = _prepare(folder, wanted, fresh)
            return cls(folder, found, lock)
        except BaseException:
            lock.release()
            raise

    def _recover(self) -> dict[int, Record]:
        """Find what is whole on the disk, and write the summary anew where it says otherwise."""
        path = self.path / SUMMARY
        plain = path.is_file() and not path.is_symlink()
        data = files.read_plain(path) if plain else b""
        found = latest_lines(data)
        heads = {index: record for index, (record, _) in found.items() if index in self._names}
        lines = {index: line for index, (_, line) in found.items()}
        whole = _whole(self.path, heads)
        known = {record["file"] for record in whole.values() if record["status"] == "done"}
        for record in self._unlisted(known, whole):
            whole[record["index"]] = head(record)
            lines[record["index"]] = dump_record(record)
        for index, record in whole.items():
            if record is not heads.get(index) and index in heads:
                lines[index] = dump_record({**(parse_record(lines[index]) or {}), **record})
        text = b"".join(lines[index] + b"\n" for index in whole)
        if text != data or not plain:
            files.write_atomic(path, text)
        return whole

    def _unlisted(self, known: set[str], whole: dict[int, Record]) -> Iterator[Record]:
        """Read the records of layers that are on the disk but not in the summary."""
        for file in sorted((self.path / LAYERS).glob("*.h5")):
            name = f"{LAYERS}/{file.name}"
            if name not in known and layer_file(self.path, name) is not None:
                for index, record in valid_layers(file).items():
                    if index in self._names and index not in whole:
                        yield _stored(record, name, file.lstat())

    def write_layer(self, record: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Keep a finished layer; when this returns, no kill and no power cut loses it.

        Parameters
        ----------
        record : mapping
            With `index`, `name` and `status` `done`.
        arrays : mapping of str to Array
            May be empty.

        Raises
        ------
        DiskFullError, StoreError
            It could not be written; everything written before is still there, and the layer can be written again.
        RunBusyError
            The lock was taken away.
        """
        self.write_layers([(record, arrays)])

    def write_layers(self, items: Sequence[tuple[Mapping[str, Any], Mapping[str, Array]]]) -> None:
        """Keep several finished layers in one file; better for thousands of small ones. See `write_layer`."""
        if not items:
            return
        checked = [(self._checked(record, {"done"}), arrays) for record, arrays in items]
        first = checked[0][0]
        name = f"{LAYERS}/{layer_file_name(first['index'], first['name'])}"
        self._lock.require()
        status, texts = write_layer_file(self.path / name, checked)
        records = [_stored(record, name, status) for record, _ in checked]
        volatile = ({key: record[key] for key in sorted(record.keys() & VOLATILE)} for record in records)
        self._append(records, [extended(text, more) for text, more in zip(texts, volatile, strict=True)])

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Keep the record of a layer that has no arrays, being `failed` or `skipped`. See `write_layer`."""
        self.write_records([record])

    def write_records(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep the records of several layers that have no arrays, in one append. See `write_record`."""
        checked = [self._checked(record, STATUSES - {"done"}) for record in records]
        if checked:
            self._lock.require()
            self._append(checked, [dump_record(record) for record in checked])

    def _checked(self, record: Mapping[str, Any], statuses: frozenset[str] | set[str]) -> Record:
        index, name, status = record.get("index"), record.get("name"), record.get("status")
        if type(index) is not int or self._names.get(index) != name or status not in statuses:
            expected = self._names.get(index) if type(index) is int else None
            msg = f"record of layer {index!r} {name!r} {status!r}: expected {expected!r} and one of {sorted(statuses)}"
            raise ValueError(msg)
        return dict(record)

    def _append(self, records: list[Record], lines: list[bytes]) -> None:
        self._summary.append(b"".join(line + b"\n" for line in lines))
        for record in records:
            self.records[record["index"]] = head(record)
            if record["status"] == "failed":
                self.finished.discard(record["index"])
            else:
                self.finished.add(record["index"])
        self.heartbeat()

    def heartbeat(self) -> None:
        """Say that this writer lives; may be called from a thread and as often as one likes."""
        self._lock.heartbeat()

    def close(self) -> None:
        """Give the lock back."""
        self._summary.close()
        self._lock.release()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _refuse_other_things(folder: Path) -> None:
    if folder.suffix == ".h5":
        msg = f"{folder}: a packed run cannot be continued; resume the folder it was packed from"
        raise RunDamagedError(msg)
    if folder.exists() and not folder.is_dir():
        msg = f"{folder}: a file, not the folder of a run; choose another --store"
        raise RunDamagedError(msg)
    found = {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")} if folder.exists() else set()
    if found - {LOCK} and not found & {MANIFEST, LAYERS, SUMMARY, JOBS, REPRESENTATION}:
        msg = f"{folder}: a folder with other files in it, not a run; choose another --store"
        raise RunDamagedError(msg)


def _prepare(folder: Path, wanted: Manifest, fresh: bool) -> Manifest:
    """Make the folder ready under the lock, and return the manifest that counts."""
    for name in (LAYERS, JOBS):
        if (folder / name).is_symlink():
            msg = f"{folder / name}: a link, and a run may not point outside its folder; put the folder itself there"
            raise RunDamagedError(msg)
    for place in (folder, folder / LAYERS):
        files.remove_stale(place)
    # Other processes write here too, without the lock; theirs live for milliseconds.
    files.remove_stale(folder / JOBS, older_than=_JOB_FILES_SECONDS)
    has_manifest = (folder / MANIFEST).exists()
    if fresh:
        _require_a_run(folder, has_manifest)
        _throw_away(folder)
    elif has_manifest:
        found = manifests.read_manifest(folder)
        manifests.require_same(folder, found, wanted)
        files.make_folder(folder / LAYERS)
        return found
    elif any((folder / LAYERS).glob("*.h5")):
        msg = f"{folder / MANIFEST}: missing, but layers are there; restore it from a copy, or use --fresh"
        raise RunDamagedError(msg)
    files.make_folder(folder / LAYERS)
    files.make_folder(folder / JOBS)
    manifests.write_manifest(folder, wanted)
    return wanted


def _require_a_run(folder: Path, has_manifest: bool) -> None:
    """Refuse to throw away what is not ours: a whole `run.json` that is no manifest, or files beside no manifest."""
    if has_manifest:
        try:
            found = json.loads((folder / MANIFEST).read_bytes())
        except (ValueError, RecursionError):
            found = None
        ours = not isinstance(found, dict) or {"format", "sources", "layers"} <= found.keys()
    else:
        names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
        ours = names <= {LOCK, LAYERS, SUMMARY, JOBS, REPRESENTATION}
    if not ours:
        msg = f"{folder}: not a run of globa-tui, so --fresh leaves it alone; choose another --store"
        raise RunDamagedError(msg)


def _throw_away(folder: Path) -> None:
    """Remove what was computed, and nothing else; the manifest stays until the new one replaces it."""
    with files.disk_errors(folder, "remove the old layers"):
        (folder / SUMMARY).unlink(missing_ok=True)
        layers = folder / LAYERS
        if layers.is_symlink():
            layers.unlink()
        elif layers.is_dir():
            for file in layers.iterdir():
                if layer_file(folder, f"{LAYERS}/{file.name}") is not None:
                    file.unlink()
        files.sync_folder(folder)


def _stored(record: Record, name: str, status: os.stat_result) -> Record:
    return {**record, "file": name, "stored": [status.st_size, status.st_mtime_ns]}


def _whole(folder: Path, records: dict[int, Record]) -> dict[int, Record]:
    """Return the records whose layer file is whole.

    A file with the size and time of its record was synced and has not been touched since; any other is read through.
    """
    kept: dict[int, Record] = {}
    doubtful: dict[str, list[int]] = {}
    times: dict[str, list[int] | None] = {}
    for index, record in records.items():
        if record["status"] != "done":
            kept[index] = record
            continue
        name = record.get("file")
        path = layer_file(folder, name)
        if path is None or not isinstance(name, str):
            continue
        if name not in times:
            times[name] = _size_and_time(path)
        if times[name] is not None and times[name] == record.get("stored"):
            kept[index] = record
        elif times[name] is not None:
            doubtful.setdefault(name, []).append(index)
    for name, indices in doubtful.items():
        for index in valid_layers(folder / name, indices):
            kept[index] = {**records[index], "stored": times[name]}
    return kept


def _size_and_time(path: Path) -> list[int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None
