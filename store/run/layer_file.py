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
from typing import TYPE_CHECKING, Any

from store import files
from store.errors import RunDamagedError, RunError, StoreError
from store.run.attributes import read_int, read_texts
from store.run.layout import FORMAT, LAYERS, group_name
from store.run.manifest import check_format
from store.run.rehearsal import require_rehearsed
from store.run.structure import require_plain_file, require_sound_object
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
_NOT_DAMAGE = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
)
_OLDEST_FORM_ONLY = 3
"""Format from which on no group has an index of its names."""
_WITH_INDEX: set[int] = set()
"""Handles of the open files of earlier formats."""
_HARD = 0
"""HDF5's number for a link to something in the same file."""
_DEEPEST = 8
"""Levels of groups below a layer; ours have three."""
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
        with path.open("rb") as plain:
            require_plain_file(plain.fileno())
        with h5py.File(path, "r", locking=False) as file, _known_form(file, str(path)):
            yield file
    except StoreError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in _NOT_DAMAGE:
            raise
        msg = f"{path}: damaged ({_one_line(error)}); {_CURE}"
        raise RunDamagedError(msg) from error


@contextlib.contextmanager
def _known_form(file: h5py.File, where: str) -> Iterator[None]:
    """Check the format version; in a file of before format 3 groups may have a form of HDF5 that is refused since."""
    version, handle = read_int(file, "format"), file.id.get_vfd_handle()
    check_format(version, where)
    if version is not None and version < _OLDEST_FORM_ONLY:
        _WITH_INDEX.add(handle)
    try:
        yield
    finally:
        _WITH_INDEX.discard(handle)


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
        raise _damaged(group, ABOUT, "not what is said of arrays") from error


def _checksum(group: h5py.Group, name: str, dataset: h5py.Dataset, about: Mapping[str, _About] | None) -> int:
    told = about.get(name) if about is not None else None
    found = told[0] if told is not None else read_int(dataset, "crc32")
    if found is None:
        raise _damaged(group, name, "has no checksum")
    return found


def _description(dataset: h5py.Dataset, told: _About | None) -> tuple[str, str, tuple[str, ...]]:
    """Unit, description and axes of an array."""
    if told is not None:
        return told[1:]
    (unit,), (description,) = read_texts(dataset, "unit"), read_texts(dataset, "description")
    return unit, description, read_texts(dataset, "dims")


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


def arrays_in(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Find all arrays of a layer, by name and in order; nothing is read yet.

    Raises
    ------
    RunDamagedError
        There are not as many as were written, or not where they should be.
    """
    expected = read_int(group, _COUNT)
    found = {name: node for name, node in _datasets(group, "", set()) if name not in {RECORD, ABOUT}}
    if len(found) != expected:
        raise _damaged(group, _COUNT, f"{expected} claimed, {len(found)} found")
    return dict(sorted(found.items()))


def _datasets(group: h5py.Group, prefix: str, seen: set[int]) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets below a group that is a tree of few levels."""
    import h5py

    for part in group:
        if not isinstance(part, str):  # no UTF-8
            raise _damaged(group, repr(part), "a name that globa-tui does not give")
        node, address = _child(group, part)
        if not isinstance(node, h5py.Group):
            yield prefix + part, _plain(group, part, node)
            continue
        if address in seen or prefix.count("/") == _DEEPEST:
            raise _damaged(group, part, "groups that are no tree of a few levels")
        seen.add(address)
        yield from _datasets(node, f"{prefix}{part}/", seen)


def read_arrays(group: h5py.Group, datasets: Mapping[str, h5py.Dataset]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Read arrays that `arrays_in` found, one after the other, and compare their checksums.

    Raises
    ------
    RunDamagedError
        The numbers are not those that were written.
    """
    import numpy as np

    about = read_about(group)
    for name, dataset in datasets.items():
        if dataset.dtype.kind not in "iuf":
            raise _damaged(group, name, f"holds {dataset.dtype}, not numbers")
        values: np.ndarray[Any, Any] = np.asarray(dataset[()])
        checksum = zlib.crc32(values.data.cast("B") if values.size else b"")
        if checksum != _checksum(group, name, dataset, about):
            raise _damaged(group, name, "the checksum differs")
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
                for _ in read_arrays(group, arrays_in(group)) if through else ():
                    pass
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
    return _plain(group, name, _walk(group, name))


def _plain(group: h5py.Group, name: str, node: object) -> h5py.Dataset:
    """Require a dataset whose bytes are plain, in this file, and all there."""
    import h5py

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
        node, _ = _child(node, part)
    return node


def _child(group: h5py.Group, part: str) -> tuple[object, int]:
    """What a group holds under a name, and where in the file, once HDF5 can be let at it."""
    key = part.encode()
    if not group.id.links.exists(key):
        raise _damaged(group, part, "missing")
    link = group.id.links.get_info(key)
    if link.type != _HARD:
        raise _damaged(group, part, "a link, which a run may not hold")
    try:
        handle = group.file.id.get_vfd_handle()
        if require_sound_object(handle, link.u, may_have_index=handle in _WITH_INDEX):
            require_rehearsed(group.file.filename)
    except ValueError as error:
        raise _damaged(group, part, str(error)) from None
    return group[part], link.u


def _damaged(parent: h5py.Group, name: str, what: str) -> RunDamagedError:
    key = name if name.startswith("/") else f"{str(parent.name).rstrip('/')}/{name}"
    return RunDamagedError(f"{parent.file.filename}: {key}: {what}; {_CURE}")


def dump_json(value: object) -> bytes:
    """Compact JSON for a text dataset."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
