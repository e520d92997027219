"""Layer files: the arrays and the record of one layer, or of a few small ones, in HDF5.

A stranger may have made the file: only plain arrays that lie inside it are read. Links out of it, datasets stored
elsewhere, filters and sizes that the file does not hold are refused before anything is allocated.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from store import files
from store.errors import RunDamagedError, RunError, StoreError
from store.run.layout import FORMAT, LAYERS, group_name
from store.run.manifest import check_format
from store.run.summary import dump_record, parse_record

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from store.run.array_writer import ArrayWriter

Record = dict[str, Any]

RECORD = "record"
_COUNT = "arrays"
VOLATILE = frozenset({"seconds", "file", "stored"})
"""Keys of a record that are not kept in the layer file, so that the same analysis gives the same bytes."""

_SMALL = 1 << 24
"""Files up to this many bytes of numbers are made in memory: HDF5 writes many small pieces."""
_NOT_DAMAGE = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
)
_CURE = "resume the analysis, which computes the layer again"


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


def write_layer_file(path: Path, items: Sequence[tuple[Record, Mapping[str, Array]]]) -> os.stat_result:
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
            with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
                _write_layers(file, items)
                file.flush()
                staged.write(file.id.get_file_image())
        else:
            with h5py.File(staged, "w") as file:
                _write_layers(file, items)
        return staged.publish()


def _write_layers(file: h5py.File, items: Sequence[tuple[Record, Mapping[str, Array]]]) -> None:
    from store.run.array_writer import ArrayWriter

    file.attrs["format"] = FORMAT
    layers, writer = file.create_group(LAYERS), ArrayWriter()
    for record, arrays in items:
        write_layer(writer, layers, record, arrays)


def write_layer(writer: ArrayWriter, layers: h5py.Group, record: Record, arrays: Mapping[str, Array]) -> None:
    """Write one layer as a group below `layers`."""
    group = layers.create_group(group_name(record["index"]))
    kept = {key: value for key, value in record.items() if key not in VOLATILE}
    writer.text(group, RECORD, dump_record(kept))
    writer.count(group, _COUNT, len(arrays))
    for name, array in arrays.items():
        if name.split("/")[0] == RECORD:
            msg = f"{record['name']}: an array cannot be called {name!r}"
            raise ValueError(msg)
        writer.array(group, name, _numbers(name, array), array.unit, array.description, array.dims)


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


@contextlib.contextmanager
def open_file(path: Path, *, follow: bool = False) -> Iterator[h5py.File]:
    """Open an HDF5 file of ours for reading, without locks, checked for its format version.

    Parameters
    ----------
    path : Path
        The file.
    follow : bool
        Whether it may be a link, as a file that the user named may; one that a run names may not.

    Raises
    ------
    OSError
        It is not there, or the operating system refuses.
    RunDamagedError
        HDF5 cannot read it, while opening or later inside the block.
    RunForeignError
        A newer version wrote it.
    """
    import h5py

    if not stat.S_ISREG(path.stat(follow_symlinks=follow).st_mode) or (not follow and path.parent.is_symlink()):
        msg = f"{path}: not a plain file, and a run may not point outside its folder; delete it and {_CURE}"
        raise RunDamagedError(msg)
    try:
        with h5py.File(path, "r", locking=False) as file:
            check_format(_plain_int(file.attrs.get("format")), str(path))
            yield file
    except StoreError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in _NOT_DAMAGE:
            raise
        msg = f"{path}: damaged ({_one_line(error)}); {_CURE}"
        raise RunDamagedError(msg) from error


def _checksum(dataset: h5py.Dataset) -> int:
    found = _plain_int(dataset.attrs.get("crc32"))
    if not isinstance(found, int):
        raise _damaged(cast("h5py.Group", dataset.parent), str(dataset.name), "has no checksum")
    return found


def _plain_int(value: object) -> object:
    try:
        return int(cast("Any", value))
    except (TypeError, ValueError):
        return value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_text(group: h5py.Group, name: str) -> bytes:
    """Read what `ArrayWriter.text` wrote."""
    dataset = _dataset(group, name)
    if dataset.dtype.kind != "S" or dataset.shape != ():
        raise _damaged(group, name, "not a text")
    return bytes(dataset[()])


def read_record(layers: h5py.Group, index: int) -> Record:
    """Read the record of a layer."""
    group = layer_group(layers, index)
    record = parse_record(read_text(group, RECORD))
    if record is None or record["index"] != index:
        raise _damaged(group, RECORD, f"not the record of layer {index}")
    return record


def layers_of(file: h5py.File) -> h5py.Group:
    """Group that holds the layers of a file."""
    return subgroup(file, LAYERS)


def layer_group(layers: h5py.Group, index: int) -> h5py.Group:
    """Group of a layer."""
    return subgroup(layers, group_name(index))


def array_names(group: h5py.Group) -> list[str]:
    """Names of all arrays of a layer, in order.

    Raises
    ------
    RunDamagedError
        There are not as many as were written.
    """
    import h5py

    found: list[str] = []

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and name != RECORD:
            found.append(name)

    group.visititems(visit)
    expected = _plain_int(group.attrs.get(_COUNT))
    if len(found) != expected:
        raise _damaged(group, _COUNT, f"{expected} claimed, {len(found)} found")
    return sorted(found)


def read_array(group: h5py.Group, name: str) -> np.ndarray[Any, Any]:
    """Read one array and compare its checksum.

    Raises
    ------
    RunDamagedError
        The numbers are not those that were written, or lie outside the file.
    """
    dataset = _dataset(group, name)
    if dataset.dtype.kind not in "iuf":
        raise _damaged(group, name, f"holds {dataset.dtype}, not numbers")
    values: np.ndarray[Any, Any] = dataset[()]
    if not dataset.shape:
        import numpy as np

        values = np.asarray(values)
    checksum = zlib.crc32(values.data.cast("B") if values.size else b"")
    if checksum != _checksum(dataset):
        raise _damaged(group, name, "the checksum differs")
    return values


def copy_layer(writer: ArrayWriter, source: h5py.Group, layers: h5py.Group) -> None:
    """Copy a layer into another file array by array, comparing checksums."""
    target = layers.create_group(str(source.name).rpartition("/")[2])
    writer.text(target, RECORD, read_text(source, RECORD))
    names = array_names(source)
    writer.count(target, _COUNT, len(names))
    for name in names:
        before = _dataset(source, name)
        about: dict[str, Any] = dict(before.attrs)
        dims = tuple(str(axis) for axis in about["dims"])
        written = writer.array(target, name, before, str(about["unit"]), str(about["description"]), dims)
        if written != _checksum(before):
            raise _damaged(source, name, "the checksum differs")


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
                for array in array_names(group) if through else ():
                    read_array(group, array)
                valid[record["index"]] = record
    return valid


def subgroup(parent: h5py.Group, name: str) -> h5py.Group:
    """Group of that name, reached by no link that could lead out of the file."""
    import h5py

    node = _walk(parent, name)
    if not isinstance(node, h5py.Group):
        raise _damaged(parent, name, "not a group")
    return node


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset whose bytes are plain, in this file, and all there."""
    import h5py

    node = _walk(group, name)
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        raise _damaged(group, name, "not an array")
    if node.external or node.is_virtual or node.chunks is not None:
        raise _damaged(group, name, "not stored in one piece inside the file")
    if node.id.get_storage_size() != node.nbytes:
        raise _damaged(group, name, f"{node.nbytes:,} bytes claimed, {node.id.get_storage_size():,} stored")
    return node


def _walk(parent: h5py.Group, name: str) -> object:
    """Follow a path of names, but no link that could lead elsewhere."""
    import h5py

    node: object = parent
    for part in name.split("/"):
        if not isinstance(node, h5py.Group):
            raise _damaged(parent, name, "missing")
        link = node.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _damaged(parent, name, "missing" if link is None else "a link, which a run may not hold")
        node = node[part]
    return node


def _damaged(parent: h5py.Group, name: str, what: str) -> RunDamagedError:
    key = name if name.startswith("/") else f"{str(parent.name).rstrip('/')}/{name}"
    return RunDamagedError(f"{parent.file.filename}: {key}: {what}; {_CURE}")


def dump_json(value: object) -> bytes:
    """Compact JSON for a text dataset."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
