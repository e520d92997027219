"""Packing a run into one HDF5 file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from store import files
from store.errors import OutputExistsError, RunIncompleteError
from store.run.layer_file import dump_json
from store.run.layout import FORMAT, LAYERS, layer_file
from store.run.reader import Run
from store.run.representation import copy_representation, representation_size
from store.run.summary import Record, dump_record

Progress = Callable[[int, int], None]


def pack(
    run_path: str | Path,
    out: str | Path,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
    allow_incomplete: bool = False,
) -> Path:
    """Copy a run into one HDF5 file that `Run.open` takes like a folder, and h5py alone can read.

    Parameters
    ----------
    run_path : str or Path
        The run.
    out : str or Path
        The file to make; it appears when it is whole.
    progress : callable or None
        Called with layers copied and layers in all.
    overwrite : bool
        Replace a file that is there.
    allow_incomplete : bool
        Pack layers that are pending or failed as such.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputExistsError
        It is there already.
    RunIncompleteError
        Layers are pending or failed.
    RunDamagedError
        A layer cannot be read; every checksum is compared.
    DiskFullError, StoreError
        It could not be written.

    Notes
    -----
    Holds 64 MB of numbers at a time, whatever the size of the run.
    """
    import h5py

    from store.run.array_writer import ArrayWriter

    target = Path(out).expanduser()
    if target.exists() and not overwrite:
        msg = f"{target}: already there; choose another name, or replace it with --overwrite"
        raise OutputExistsError(msg)
    run = Run.open(run_path)
    records = run.records()
    if not allow_incomplete:
        _require_complete(run, records)
    done = [record for record in records if record["status"] == "done"]
    files.make_folder(target.parent)
    files.remove_stale(target.parent, files.ABANDONED_SECONDS, target.name)
    files.ensure_free(target.parent, _size(run, done))
    with files.StagedFile(target) as staged:
        with h5py.File(staged, "w", libver="earliest") as file:
            file.attrs["format"] = FORMAT
            writer = ArrayWriter()
            writer.text(file, "manifest", dump_json(run.manifest))
            writer.text(file, "summary", _summary(records))
            layers = writer.group(file, LAYERS)
            for number, record in enumerate(done):
                run.copy_layer(writer, record["index"], layers)
                if progress is not None:
                    progress(number + 1, len(done))
            copy_representation(writer, run.path, file)
        staged.publish()
    return target


def _require_complete(run: Run, records: list[Record]) -> None:
    missing = [record for record in records if record["status"] in {"pending", "failed"}]
    if missing:
        first = missing[0]
        msg = (
            f"{run.path}: {len(missing)} of {len(records)} layers are not done, the first is {first['name']} "
            f"({first['status']}); resume the analysis first"
        )
        raise RunIncompleteError(msg)


def _size(run: Run, done: list[Record]) -> int:
    if run.packed:
        return run.path.stat().st_size
    paths = {layer_file(run.path, record.get("file")) for record in done}
    layers = sum(path.stat().st_size for path in paths if path is not None and path.exists())
    return layers + representation_size(run.path)


def _summary(records: list[Record]) -> bytes:
    kept = [
        {key: value for key, value in record.items() if key not in {"file", "stored"}}
        for record in records
        if record["status"] != "pending"
    ]
    return b"".join(dump_record(record) + b"\n" for record in kept)
