"""Reading a run, while it grows or when it is packed. A reader takes no lock, keeps no file open and writes nothing."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from store import files
from store.errors import RunDamagedError, RunError, RunIncompleteError, RunNotFoundError, StoreError
from store.run import layer_file as layer_files
from store.run.hdf5 import cure_of, open_file
from store.run.layout import LAYERS, MANIFEST, SUMMARY, layer_file, run_folder
from store.run.manifest import Manifest, parse_manifest, read_manifest
from store.run.summary import Record, SummaryReader, latest, parse_records

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from store.run.array_writer import ArrayWriter

Result = TypeVar("Result")

_TRIES = 5
_PAUSE = 0.05
_IDENTITY = ("index", "name", "shape", "kind", "block", "role")


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
    share_read : float
        How much of the summary was read; less than 1 only after a look with a limit.
    """

    def __init__(self, path: Path, manifest: Manifest, *, packed: bool) -> None:
        self.path = path
        self.packed = packed
        self.share_read = 1.0
        self._packed_summary = io.BytesIO()
        self._manifest_seen: tuple[int, int] | None = None
        self._set_manifest(manifest)

    @classmethod
    def open(cls, path: str | Path, limit: int | None = None) -> Run:
        """Open a run folder or a packed file.

        Parameters
        ----------
        path : path
            Of the run.
        limit : int or None
            Read about so many bytes of the summary at most; `refresh` reads on until `share_read` is 1.

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
            return _open_packed(place, limit)
        seen = _file_identity(place / MANIFEST)
        run = cls(place, read_manifest(place), packed=False)
        run._manifest_seen = seen
        run.refresh(limit)
        return run

    def _set_manifest(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._summary = SummaryReader(self.path / SUMMARY)
        self._identity: dict[int, Record] = {
            layer["index"]: {key: layer[key] for key in _IDENTITY if key in layer} for layer in manifest["layers"]
        }
        self._records = {index: _pending(identity) for index, identity in self._identity.items()}

    def refresh(self, limit: int | None = None) -> set[int]:
        """Read what was added since; a packed run never changes.

        Parameters
        ----------
        limit : int or None
            Read about so many bytes at most.

        Returns
        -------
        set of int
            Indices of the layers whose record changed.
        """
        if self.packed:
            return self._take(self._from_packed(limit)) if self.share_read < 1 else set()
        seen = _file_identity(self.path / MANIFEST)
        started_over = seen is not None and seen != self._manifest_seen
        if started_over:
            self._set_manifest(read_manifest(self.path))
            self._manifest_seen = seen
        over, records = self._summary.poll(limit)
        self.share_read = self._summary.share_read
        if not records and not (self.path / SUMMARY).exists():
            records = self._from_layer_files()
        changed = set(self._records) if started_over or over else set()
        if over:
            self._records = {index: _pending(identity) for index, identity in self._identity.items()}
        return changed | self._take(records)

    def _take(self, records: Iterable[Record]) -> set[int]:
        """Take records over; what a layer is, the manifest says."""
        changed: set[int] = set()
        for index, record in latest(records).items():
            identity = self._identity.get(index)
            if identity is not None:
                record.setdefault("error", None)
                record.update(identity)
                self._records[index] = record
                changed.add(index)
        return changed

    def _from_packed(self, limit: int | None) -> list[Record]:
        """Read on in the summary of a packed run."""
        text = self._packed_summary
        data = text.read(limit) + (b"" if limit is None else text.readline())
        self.share_read = text.tell() / size if (size := len(text.getbuffer())) else 1.0
        if self.share_read == 1:
            self._packed_summary = io.BytesIO()
        return parse_records(data)

    def _from_layer_files(self) -> list[Record]:
        """Read the records from the layer files, when the summary is gone."""
        found: list[Record] = []
        known = {record.get("file") for record in self._records.values()}
        for file in sorted((self.path / LAYERS).glob("*.h5")):
            name = f"{LAYERS}/{file.name}"
            if name not in known and layer_file(self.path, name) is not None:
                with contextlib.suppress(StoreError):
                    records = layer_files.valid_layers(file, through=False).values()
                    found += [{**record, "file": name} for record in records]
        return found

    def records(self) -> list[Record]:
        """Return a record for each layer of the manifest, in its order; one without a result is `pending`.

        They are shared with this object: do not change them.
        """
        return list(self._records.values())

    def record(self, index: int) -> Record:
        """Return the record of one layer."""
        try:
            return self._records[index]
        except KeyError:
            msg = f"{self.path}: has no layer {index!r}; its layers are those of {MANIFEST}"
            raise RunError(msg) from None

    def array_names(self, index: int) -> list[str]:
        """Return the names of the arrays of a layer."""
        return self._read(index, lambda group: list(layer_files.arrays_in(group)))

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
            present = layer_files.arrays_in(group)
            missing = [name for name in wanted or [] if name not in present]
            if missing:
                msg = f"{self.path}: {self._name(index)} has no {missing[0]!r}; analyse again, keeping it (--factors)"
                raise RunIncompleteError(msg)
            chosen = present if wanted is None else {name: present[name] for name in wanted}
            return dict(layer_files.read_arrays(group, chosen))

        return self._read(index, read)

    def copy_layer(self, writer: ArrayWriter, index: int, layers: h5py.Group) -> None:
        """Copy the group of a layer below `layers` of another file."""
        self._read(index, lambda group: layer_files.copy_layer(writer, group, layers), tries=1)

    def _name(self, index: int) -> str:
        return str(self.record(index)["name"])

    def _read(self, index: int, read: Callable[[h5py.Group], Result], tries: int = _TRIES) -> Result:
        """Open the file of a layer and read from its group; once more when it changed under our hands."""
        for attempt in range(tries):
            path = self._file(index)
            try:
                with files.disk_errors(path, "read"), open_file(path, packed=self.packed) as file:
                    return read(layer_files.layer_group(layer_files.layers_of(file), index))
            except RunIncompleteError:
                raise
            except StoreError as error:
                if attempt + 1 == tries or self.packed:
                    if isinstance(error.__cause__, FileNotFoundError):
                        cure = cure_of(path, packed=self.packed)
                        msg = f"{path}: missing, it holds {self._name(index)}; {cure}"
                        raise RunDamagedError(msg) from error
                    raise
                time.sleep(_PAUSE)
                self.refresh()
        raise AssertionError

    def _file(self, index: int) -> Path:
        record = self.record(index)
        if record["status"] != "done":
            cure = "resume the run it was packed from, and pack it again" if self.packed else "resume the analysis"
            msg = f"{self.path}: {record['name']} is {record['status']}; {cure}"
            raise RunIncompleteError(msg)
        if self.packed:
            return self.path
        path = layer_file(self.path, record.get("file"))
        if path is None:
            msg = f"{self.path / SUMMARY}: names {record.get('file')!r} for {record['name']}, not a file of this run"
            raise RunDamagedError(msg)
        return path


def _pending(identity: Record) -> Record:
    return {**identity, "status": "pending", "error": None}


def _file_identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _open_packed(path: Path, limit: int | None) -> Run:
    if not path.exists():
        msg = f"{path}: no packed run here; check the name"
        raise RunNotFoundError(msg)
    with files.disk_errors(path, "read"), open_file(path, packed=True) as file:
        manifest = parse_manifest(layer_files.read_text(file, "manifest"), f"{path}: /manifest")
        summary = layer_files.read_text(file, "summary")
    run = Run(path, manifest, packed=True)
    run._packed_summary = io.BytesIO(summary)
    run._take(run._from_packed(limit))
    return run
