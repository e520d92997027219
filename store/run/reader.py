"""Reading a run, while it grows or when it is packed. A reader takes no lock, keeps no file open and writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from store import files
from store.errors import RunDamagedError, RunError, RunIncompleteError, RunNotFoundError, StoreError
from store.run import layer_file as layer_files
from store.run.layout import LAYERS, MANIFEST, SUMMARY, layer_file, run_folder
from store.run.manifest import Manifest, parse_manifest, read_manifest
from store.run.summary import Record, SummaryReader, latest, parse_records

if TYPE_CHECKING:
    import h5py
    import numpy as np

Result = TypeVar("Result")

_TRIES = 5
_PAUSE = 0.05
_COPIED = ("index", "name", "shape", "kind", "block", "role")


class Run:
    """A run, opened for reading by `open`.

    Attributes
    ----------
    path : Path
        The folder or the packed file.
    manifest : dict
        What was computed from what.
    packed : bool
        Whether it is one file.
    """

    def __init__(self, path: Path, manifest: Manifest, *, packed: bool) -> None:
        self.path = path
        self.packed = packed
        self._set_manifest(manifest)
        self._by_index: dict[int, Record] = {}
        self._summary = SummaryReader(path / SUMMARY)
        self._manifest_seen: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run folder or a packed file.

        Raises
        ------
        RunNotFoundError
            There is none.
        RunForeignError
            A newer version wrote it.
        RunDamagedError
            Its manifest cannot be read.
        """
        place = run_folder(path)
        if place.suffix == ".h5" and not place.is_dir():
            return _open_packed(place)
        seen = _identity(place / MANIFEST)
        run = cls(place, read_manifest(place), packed=False)
        run._manifest_seen = seen
        run.refresh()
        return run

    def _set_manifest(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._pending: dict[int, Record] = {}
        for layer in manifest["layers"]:
            copied = {key: layer.get(key) for key in _COPIED}
            self._pending[layer["index"]] = {**copied, "status": "pending", "error": None}

    def refresh(self) -> bool:
        """Read what was added since; a packed run never changes.

        Returns
        -------
        bool
            Whether a record changed.
        """
        if self.packed:
            return False
        seen = _identity(self.path / MANIFEST)
        if seen is not None and self._manifest_seen is not None and seen != self._manifest_seen:
            self._set_manifest(read_manifest(self.path))
            self._summary = SummaryReader(self.path / SUMMARY)
            self._by_index = {}
        self._manifest_seen = seen or self._manifest_seen
        over, records = self._summary.poll()
        if not over and not records:
            return self._rebuild() if not self._by_index else False
        if over:
            self._by_index = {}
        self._by_index |= latest(records)
        return True

    def _rebuild(self) -> bool:
        """Read the records from the layer files, when the summary is gone."""
        if (self.path / SUMMARY).exists():
            return False
        for file in sorted((self.path / LAYERS).glob("*.h5")):
            name = f"{LAYERS}/{file.name}"
            if layer_file(self.path, name) is not None:
                found = layer_files.valid_layers(file)
                self._by_index |= {index: {**record, "file": name} for index, record in found.items()}
        return bool(self._by_index)

    def records(self) -> list[Record]:
        """Return a record for each layer of the manifest, in its order; one without a result is `pending`."""
        found = self._by_index
        return [{**blank, **found[index]} if index in found else dict(blank) for index, blank in self._pending.items()]

    def record(self, index: int) -> Record:
        """Return the record of one layer."""
        if index not in self._pending:
            msg = f"{self.path}: has no layer {index}, its layers are those of {MANIFEST}"
            raise RunError(msg)
        return {**self._pending[index], **self._by_index.get(index, {})}

    def array_names(self, index: int) -> list[str]:
        """Return the names of the arrays of a layer."""
        return self._read(index, layer_files.array_names)

    def arrays(self, index: int, names: Iterable[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Read arrays of a layer, comparing their checksums.

        Parameters
        ----------
        index : int
            Of the layer.
        names : iterable of str or None
            Which; all by default.

        Raises
        ------
        RunIncompleteError
            The layer is not done, or has no array of that name.
        RunDamagedError
            Its file is missing or cannot be read; the message names file and key.
        """
        wanted = None if names is None else list(names)

        def read(group: h5py.Group) -> dict[str, np.ndarray[Any, Any]]:
            present = layer_files.array_names(group)
            missing = [name for name in wanted or [] if name not in present]
            if missing:
                msg = f"{self.path}: {self._name(index)} has no {missing[0]!r}; analyse again, keeping it (--factors)"
                raise RunIncompleteError(msg)
            return {name: layer_files.read_array(group, name) for name in (present if wanted is None else wanted)}

        return self._read(index, read)

    def copy_layer(self, index: int, layers: h5py.Group) -> None:
        """Copy the group of a layer below `layers` of another file."""
        self._read(index, lambda group: layer_files.copy_layer(group, layers), tries=1)

    def _name(self, index: int) -> str:
        return str(self.record(index)["name"])

    def _read(self, index: int, read: Callable[[h5py.Group], Result], tries: int = _TRIES) -> Result:
        """Open the file of a layer and read from its group; once more when it changed under our hands."""
        for attempt in range(tries):
            path = self._file(index)
            try:
                with files.disk_errors(path, "read"), layer_files.open_file(path) as file:
                    return read(layer_files.layer_group(layer_files.layers_of(file), index))
            except RunIncompleteError:
                raise
            except StoreError as error:
                if attempt + 1 == tries or self.packed:
                    if isinstance(error.__cause__, FileNotFoundError):
                        msg = f"{path}: missing, it holds {self._name(index)}; resume the analysis"
                        raise RunDamagedError(msg) from error
                    raise
                time.sleep(_PAUSE)
                self.refresh()
        raise AssertionError

    def _file(self, index: int) -> Path:
        record = self.record(index)
        if record["status"] != "done":
            msg = f"{self.path}: {record['name']} is {record['status']}; resume the analysis"
            raise RunIncompleteError(msg)
        if self.packed:
            return self.path
        path = layer_file(self.path, record.get("file"))
        if path is None:
            msg = f"{self.path / SUMMARY}: names {record.get('file')!r} for {record['name']}, not a file of this run"
            raise RunDamagedError(msg)
        return path


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _open_packed(path: Path) -> Run:
    if not path.exists():
        msg = f"{path}: no packed run here; check the name"
        raise RunNotFoundError(msg)
    with files.disk_errors(path, "read"), layer_files.open_file(path) as file:
        manifest = parse_manifest(layer_files.read_text(file, "manifest"), f"{path}: /manifest")
        records = parse_records(layer_files.read_text(file, "summary"))
    run = Run(path, manifest, packed=True)
    run._by_index = latest(records)
    return run
