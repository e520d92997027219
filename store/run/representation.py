"""Hidden states of models beside the layers of a run: a file for each model, and what was derived from all of them.

The files have the form of layer files, with a model in the place of a layer; docs/store.md describes them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store import files
from store.errors import RunDamagedError, StoreError
from store.run import layer_file as layer_files
from store.run.hdf5 import cure_of, open_file, subgroup
from store.run.layer_file import Array, dump_json
from store.run.layout import REPRESENTATION, RESULT, group_name, run_folder
from store.run.summary import Record

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from store.run.array_writer import ArrayWriter

_MOST_BYTES = 1 << 26
"""A larger result is not read: thousands of models make less."""


def states_file(folder: Path, index: int) -> Path:
    """Where the hidden states of a model are; `index` 0 is the base."""
    return folder / REPRESENTATION / f"{group_name(index)}.h5"


def write_states(folder: Path, record: Record, arrays: Mapping[str, Array]) -> None:
    """Write the hidden states of one model, whole or not at all.

    Parameters
    ----------
    folder : Path
        Of the run, made if missing.
    record : dict
        With `index`, and whatever says what the states are of.
    arrays : mapping
        The states.

    Raises
    ------
    DiskFullError, StoreError
        They could not be written.
    """
    path = states_file(folder, record["index"])
    files.make_folder(path.parent)
    files.remove_stale(path.parent, files.ABANDONED_SECONDS)
    layer_files.write_layer_file(path, [(record, arrays)])


def read_states(folder: Path, index: int) -> tuple[Record, dict[str, np.ndarray[Any, Any]]] | None:
    """Read the hidden states of one model, comparing checksums; None when they are not there, or damaged."""
    path = states_file(folder, index)
    with contextlib.suppress(StoreError, FileNotFoundError), files.disk_errors(path, "read"):
        if path.is_file():
            with open_file(path) as file:
                layers = layer_files.layers_of(file)
                group = layer_files.layer_group(layers, index)
                record = layer_files.read_record(layers, index)
                return record, dict(layer_files.read_arrays(group, layer_files.arrays_in(group)))
    return None


def write_result(folder: Path, result: Mapping[str, Any], models: int) -> None:
    """Write what was derived from the hidden states of the first so many models, and remove those of others."""
    path = folder / REPRESENTATION / RESULT
    files.make_folder(path.parent)
    files.remove_stale(path.parent, files.ABANDONED_SECONDS)
    files.write_atomic(path, json.dumps(result, allow_nan=False).encode())
    kept = {states_file(folder, index).name for index in range(models)}
    for other in sorted(path.parent.glob("*.h5")):
        if other.name not in kept and not other.name.startswith("."):
            with contextlib.suppress(OSError):
                other.unlink()


def read_result(run: str | Path) -> dict[str, Any] | None:
    """Read what was derived, from a run folder or a packed file; None when there is nothing.

    Raises
    ------
    RunDamagedError
        It is not readable.
    """
    place = run_folder(run)
    packed = place.suffix == ".h5" and not place.is_dir()
    data = _packed_result(place) if packed else _folder_result(place / REPRESENTATION / RESULT)
    return None if data is None else _parse(data, place, cure_of(place / REPRESENTATION / RESULT, packed=packed))


def copy_representation(writer: ArrayWriter, run: Path, file: h5py.File) -> None:
    """Copy the hidden states and what was derived from them into a packed file; nothing when there are none."""
    result = read_result(run)
    if result is None:
        return
    target = writer.group(file, REPRESENTATION)
    writer.text(target, RESULT, dump_json(result))
    if not run.is_dir():
        with files.disk_errors(run, "read"), open_file(run, packed=True) as packed:
            source = subgroup(packed, REPRESENTATION)
            for index in range(len(result["models"])):
                layer_files.copy_layer(writer, layer_files.layer_group(source, index), target)
        return
    for index in range(len(result["models"])):
        path = states_file(run, index)
        if not path.exists():
            msg = f"{path}: missing; {cure_of(path, packed=False)}"
            raise RunDamagedError(msg)
        with files.disk_errors(path, "read"), open_file(path) as states:
            layer_files.copy_layer(writer, layer_files.layer_group(layer_files.layers_of(states), index), target)


def representation_size(run: Path) -> int:
    """Bytes that a packed file needs for the hidden states of a run folder."""
    folder = run / REPRESENTATION
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0


def _folder_result(path: Path) -> bytes | None:
    if path.parent.is_symlink() or not path.parent.is_dir():
        return None
    with files.disk_errors(path, "read"):
        try:
            return files.read_plain(path, _MOST_BYTES)
        except FileNotFoundError:
            return None
        except files.NotPlainError as error:
            msg = f"{path}: {error.strerror}; {cure_of(path, packed=False)}"
            raise RunDamagedError(msg) from error


def _packed_result(path: Path) -> bytes | None:
    with files.disk_errors(path, "read"), open_file(path, packed=True) as file:
        if REPRESENTATION not in file:
            return None
        return layer_files.read_text(file, f"{REPRESENTATION}/{RESULT}")


def _parse(data: bytes, place: Path, cure: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"{place}: {REPRESENTATION}/{RESULT} is not readable as JSON ({error}); {cure}"
        raise RunDamagedError(msg) from error
    if not isinstance(found, dict) or not isinstance(found.get("models"), list):
        msg = f"{place}: {REPRESENTATION}/{RESULT} is not what globa-tui writes; {cure}"
        raise RunDamagedError(msg)
    return found
