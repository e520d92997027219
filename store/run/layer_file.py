"""Layer files: the arrays and the record of one layer, or of a few small ones, in HDF5."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store import files
from store.errors import RunDamagedError, RunError
from store.run.attributes import read_int, read_texts
from store.run.hdf5 import damaged, dataset, datasets_below, open_file, subgroup
from store.run.layout import FORMAT, LAYERS, group_name
from store.run.summary import dump_record, parse_record

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from store.run.array_writer import ArrayWriter

Record = dict[str, Any]

RECORD = "record"
ABOUT = "about"
"""Text that says what the arrays of a layer are, in the place of their attributes; in files of several layers."""
_COUNT = "arrays"
VOLATILE = frozenset({"seconds", "file", "stored"})
"""Keys of a record that are not kept in the layer file, so that the same analysis gives the same bytes."""

_SMALL = 1 << 24
"""Files up to this many bytes of numbers are made in memory: HDF5 writes many small pieces."""


@dataclass(frozen=True)
class Array:
    """Numbers of a layer, with what a reader needs to understand them."""

    values: np.ndarray[Any, Any]
    """Integers or floats, any number of axes."""
    unit: str
    """`none`, `weight`, `radian`, `index`, `code`…"""
    description: str
    """One sentence."""
    dims: tuple[str, ...]
    """A name for each axis."""


def write_layer_file(
    path: Path, items: Sequence[tuple[Record, Mapping[str, Array]]]
) -> tuple[os.stat_result, list[bytes]]:
    """Write layers into one new file, which appears whole and on the disk, or not at all.

    Parameters
    ----------
    path : Path
        The file; an old one of that name is replaced.
    items : sequence of (record, arrays)
        Names of arrays may hold slashes (`spectrum/1`).

    Returns
    -------
    os.stat_result
        Of the file.
    list of bytes
        The records as JSON, as the file has them.

    Raises
    ------
    DiskFullError, StoreError
        It could not be written; the old file is untouched.
    """
    import h5py

    needed = sum(array.values.nbytes for _, arrays in items for array in arrays.values())
    files.ensure_free(path, needed)
    with files.StagedFile(path) as staged:
        if needed <= _SMALL:
            with h5py.File(path.name, "w", driver="core", backing_store=False, libver="earliest") as file:
                texts = _write_layers(file, items)
                file.flush()
                staged.write(file.id.get_file_image())
        else:
            with h5py.File(staged, "w", libver="earliest") as file:
                texts = _write_layers(file, items)
        return staged.publish(), texts


def _write_layers(file: h5py.File, items: Sequence[tuple[Record, Mapping[str, Array]]]) -> list[bytes]:
    from store.run.array_writer import ArrayWriter

    file.attrs["format"] = FORMAT
    writer = ArrayWriter()
    layers = writer.group(file, LAYERS)
    return [_write_layer(writer, layers, record, arrays, alone=len(items) == 1) for record, arrays in items]


def _write_layer(
    writer: ArrayWriter, layers: h5py.Group, record: Record, arrays: Mapping[str, Array], *, alone: bool
) -> bytes:
    """Write one layer as a group below `layers`; its record as JSON.

    Four attributes take as long as a small array itself: layers that share a file have one text in their place.
    """
    group = writer.group(layers, group_name(record["index"]))
    text = dump_record({key: value for key, value in record.items() if key not in VOLATILE})
    writer.text(group, RECORD, text)
    writer.count(group, _COUNT, len(arrays))
    about: dict[str, _About] = {}
    for name, array in arrays.items():
        if name.split("/")[0] in {RECORD, ABOUT}:
            msg = f"{record['name']}: an array cannot be called {name!r}"
            raise ValueError(msg)
        values = _numbers(name, array)
        if alone:
            writer.array(group, name, values, array.unit, array.description, array.dims)
        else:
            about[name] = writer.values(group, name, values)[1], array.unit, array.description, array.dims
    if not alone:
        writer.text(group, ABOUT, dump_json(about))
    return text


def _numbers(name: str, array: Array) -> np.ndarray[Any, Any]:
    """Values of an array as integers or floats; its axes must be named."""
    import numpy as np

    values = np.asarray(array.values)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind not in "iuf" or len(array.dims) != values.ndim:
        msg = f"{name}: needs numbers and a name for each of its {values.ndim} axes, got {values.dtype}, {array.dims}"
        raise ValueError(msg)
    return values


_About = tuple[int, str, str, tuple[str, ...]]
"""Checksum, unit, description and names of the axes of an array."""


def read_about(group: h5py.Group) -> dict[str, _About] | None:
    """Read what the arrays of a layer are; None where they have attributes instead.

    Raises
    ------
    RunDamagedError
        It is not readable.
    """
    if group.get(ABOUT, getlink=True) is None:
        return None
    try:
        found = json.loads(read_text(group, ABOUT))
        return {
            str(name): (int(crc), str(unit), str(description), tuple(map(str, dims)))
            for name, (crc, unit, description, dims) in found.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(group, ABOUT, "not what is said of arrays") from error


def _checksum(group: h5py.Group, name: str, array: h5py.Dataset, about: Mapping[str, _About] | None) -> int:
    told = about.get(name) if about is not None else None
    found = told[0] if told is not None else read_int(array, "crc32")
    if found is None:
        raise damaged(group, name, "has no checksum")
    return found


def _description(array: h5py.Dataset, told: _About | None) -> tuple[str, str, tuple[str, ...]]:
    """Unit, description and axes of an array."""
    if told is not None:
        return told[1:]
    (unit,), (description,) = read_texts(array, "unit"), read_texts(array, "description")
    return unit, description, read_texts(array, "dims")


def read_text(group: h5py.Group, name: str) -> bytes:
    """Read what `ArrayWriter.text` wrote."""
    text = dataset(group, name)
    if text.dtype.kind != "S" or text.shape != ():
        raise damaged(group, name, "not a text")
    return bytes(text[()])


def read_record(layers: h5py.Group, index: int) -> Record:
    """Read the record of a layer."""
    group = layer_group(layers, index)
    record = parse_record(read_text(group, RECORD))
    if record is None or record["index"] != index:
        raise damaged(group, RECORD, f"not the record of layer {index}")
    return record


def layers_of(file: h5py.File) -> h5py.Group:
    """Group that holds the layers of a file."""
    return subgroup(file, LAYERS)


def layer_group(layers: h5py.Group, index: int) -> h5py.Group:
    """Group of a layer."""
    return subgroup(layers, group_name(index))


def arrays_in(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Find all arrays of a layer, by name and in order; nothing is read yet.

    Raises
    ------
    RunDamagedError
        There are not as many as were written, or not where they should be.
    """
    expected = read_int(group, _COUNT)
    found = {name: node for name, node in datasets_below(group) if name not in {RECORD, ABOUT}}
    if len(found) != expected:
        raise damaged(group, _COUNT, f"{expected} claimed, {len(found)} found")
    return dict(sorted(found.items()))


def read_arrays(group: h5py.Group, datasets: Mapping[str, h5py.Dataset]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Read arrays that `arrays_in` found, one after the other, and compare their checksums.

    Raises
    ------
    RunDamagedError
        The numbers are not those that were written.
    """
    import numpy as np

    about = read_about(group)
    for name, array in datasets.items():
        if array.dtype.kind not in "iuf":
            raise damaged(group, name, f"holds {array.dtype}, not numbers")
        values: np.ndarray[Any, Any] = np.asarray(array[()])
        checksum = zlib.crc32(values.data.cast("B") if values.size else b"")
        if checksum != _checksum(group, name, array, about):
            raise damaged(group, name, "the checksum differs")
        yield name, values


def copy_layer(writer: ArrayWriter, source: h5py.Group, layers: h5py.Group) -> None:
    """Copy a layer into another file array by array, comparing checksums."""
    target = writer.group(layers, str(source.name).rpartition("/")[2])
    writer.text(target, RECORD, read_text(source, RECORD))
    datasets = arrays_in(source)
    writer.count(target, _COUNT, len(datasets))
    about = read_about(source)
    for name, before in datasets.items():
        unit, description, dims = _description(before, about.get(name) if about is not None else None)
        if writer.array(target, name, before, unit, description, dims) != _checksum(source, name, before, about):
            raise damaged(source, name, "the checksum differs")


def valid_layers(path: Path, indices: Iterable[int] | None = None, *, through: bool = True) -> dict[int, Record]:
    """Return the records of the layers of a file that are whole.

    Parameters
    ----------
    path : Path
        The file; one that is gone or damaged has no valid layers.
    indices : iterable of int or None
        Look at these only.
    through : bool
        Read all arrays and compare their checksums.

    Raises
    ------
    StoreError
        The operating system refuses to open it.
    """
    valid: dict[int, Record] = {}
    with files.disk_errors(path, "read"), contextlib.suppress(RunError, FileNotFoundError), open_file(path) as file:
        layers = layers_of(file)
        names = [group_name(index) for index in indices] if indices is not None else list(layers)
        for name in names:
            with contextlib.suppress(RunDamagedError, ValueError, OSError, RuntimeError, KeyError):
                record = read_record(layers, int(name))
                group = layer_group(layers, int(name))
                for _ in read_arrays(group, arrays_in(group)) if through else ():
                    pass
                valid[record["index"]] = record
    return valid


def dump_json(value: object) -> bytes:
    """Compact JSON for a text dataset."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
