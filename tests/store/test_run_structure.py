"""Files that HDF5 itself would never leave, or that would lead it elsewhere: refused before it sees them."""

from __future__ import annotations

import faulthandler
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from store.errors import RunDamagedError
from store.run import Run, RunWriter, rehearsal
from store.run.array_writer import ArrayWriter
from store.run.hdf5 import open_file
from store.run.layer_file import arrays_in, layer_group, layers_of, read_arrays, valid_layers
from store.run.layout import FORMAT
from store.run.pack import pack
from tests.store.run_samples import arrays, manifest, record


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    """A loop in C ends neither by signals that Python handles nor by its threads."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


CONTINUED, SYMBOLS = 0x10, 0x11


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    with RunWriter.create_or_resume(tmp_path / "run.globa", manifest(2)) as writer:
        for index in range(2):
            writer.write_layer(record(index), arrays(index))
    return pack(tmp_path / "run.globa", tmp_path / "run.h5")


def read_through(path: Path) -> None:
    opened = Run.open(path)
    for index in range(2):
        opened.arrays(index)
    pack(path, path.with_name("again.h5"), overwrite=True)


def header_of(path: Path, name: str) -> int:
    """Where the header of an object is."""
    with h5py.File(path) as file:
        return int(h5py.h5o.get_info(file[name].id).addr)


def messages(data: bytes, header: int) -> Iterator[tuple[int, int]]:
    """Kind and place of what stands in a header, the first of its parts first."""
    parts = [(header + 16, struct.unpack_from("<I", data, header + 8)[0])]
    while parts:
        place, left = parts.pop(0)
        while left > 0:
            kind, size = struct.unpack_from("<HH", data, place)
            yield kind, place + 8
            if kind == CONTINUED:
                parts.append(struct.unpack_from("<QQ", data, place + 8))
            place, left = place + 8 + size, left - 8 - size


def heap_of(path: Path, name: str) -> int:
    """Where the heap with the names of a group is."""
    data = path.read_bytes()
    (place,) = [place for kind, place in messages(data, header_of(path, name)) if kind == SYMBOLS]
    return int(struct.unpack_from("<Q", data, place + 8)[0])


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A layer file all of whose groups have the oldest form; in ours only those whose names say that they are ASCII."""
    path = tmp_path / "plain.h5"
    values = np.arange(5.0)
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs["format"] = FORMAT
        group = file.id
        for name in (b"layers", b"00000000", b"spectrum"):
            group = h5py.h5g.create(group, name)
        dataset = h5py.h5d.create(group, b"1", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((5,)))
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        h5py.Dataset(dataset).attrs["crc32"] = np.uint32(zlib.crc32(values.tobytes()))
        file["layers/00000000"].attrs["arrays"] = 1
    return path


def read_plain(path: Path) -> dict[str, np.ndarray]:
    with open_file(path) as file:
        group = layer_group(layers_of(file), 0)
        return dict(read_arrays(group, arrays_in(group)))


def patched(path: Path, place: int, *words: int) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into(f"<{len(words)}Q", data, place, *words)
    path.write_bytes(data)


def word(path: Path, place: int) -> int:
    return int(struct.unpack_from("<Q", path.read_bytes(), place)[0])


GROUPS = ["/", "layers", "layers/00000000", "layers/00000000/spectrum"]
NAMES = "the names of a group do not hold together"


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("damage", ["a circle", "behind the end", "no heap", "nowhere"])
def test_names_that_lead_in_a_circle(plain: Path, group: str, damage: str) -> None:
    np.testing.assert_array_equal(read_plain(plain)["spectrum/1"], np.arange(5.0))
    heap = heap_of(plain, group)
    size, free, data = (word(plain, heap + offset) for offset in (8, 16, 24))
    assert plain.read_bytes()[heap : heap + 4] == b"HEAP"
    if damage == "a circle":
        patched(plain, data + free, free, 16)
    elif damage == "behind the end":
        patched(plain, heap + 16, size)
    elif damage == "no heap":
        patched(plain, heap, 0)
    else:
        patched(plain, heap + 24, 1 << 63)
    with pytest.raises(RunDamagedError, match=f"{re.escape(str(plain))}.*{NAMES}"):
        read_plain(plain)


def test_the_names_that_the_beginning_of_a_file_refers_to(plain: Path) -> None:
    """It has a place for the names of the root group, beside that of its header."""
    assert word(plain, 88) == heap_of(plain, "/")
    patched(plain, 88, 0)
    with pytest.raises(RunDamagedError, match=NAMES):
        read_plain(plain)


@pytest.mark.parametrize("name", ["/", "layers", "layers/00000000", "layers/00000000/basis/left", "manifest"])
def test_a_header_that_is_continued_in_itself(packed: Path, name: str) -> None:
    header = header_of(packed, name)
    kinds = dict(messages(packed.read_bytes(), header))
    if CONTINUED in kinds:
        patched(packed, kinds[CONTINUED], header + 16, word(packed, header + 8) & 0xFFFFFFFF)
    else:
        data = bytearray(packed.read_bytes())
        size = struct.unpack_from("<I", data, header + 8)[0]
        struct.pack_into("<HHIQQ", data, header + 16, CONTINUED, 16, 0, header + 16, size)
        packed.write_bytes(data)
    with pytest.raises(RunDamagedError, match="its header does not hold together"):
        read_through(packed)


def other_sizes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[14] = 4
    path.write_bytes(data)


def with_driver(path: Path) -> None:
    patched(path, 48, 96)


def moved(path: Path) -> None:
    patched(path, 24, 512)


def newest(path: Path) -> None:
    other = path.with_name("newest.h5")
    with h5py.File(path) as source, h5py.File(other, "w", libver="latest") as target:
        for name in source:
            source.copy(name, target)
        target.attrs["format"] = source.attrs["format"]
    other.replace(path)


@pytest.mark.parametrize("change", [other_sizes, with_driver, moved, newest])
def test_other_forms_of_hdf5_are_not_read(packed: Path, change: Callable[[Path], None]) -> None:
    change(packed)
    with pytest.raises(RunDamagedError, match="not the form of HDF5 that globa-tui writes"):
        Run.open(packed)


def new_group(file: h5py.File) -> None:
    file.create_group("layers/00000000/new")


def in_itself(file: h5py.File) -> None:
    file["layers/00000000/basis/again"] = file["layers/00000000"]


def twice(file: h5py.File) -> None:
    file["layers/00000000/other"] = file["layers/00000000/basis"]


def deep(file: h5py.File) -> None:
    file.create_group("layers/00000000/" + "/".join("g" * 500))


def type_elsewhere(file: h5py.File) -> None:
    file["layers/00000000/type"] = np.dtype("f8")
    del file["layers/00000000/spectrum/1"]
    file["layers/00000000/spectrum"].create_dataset("1", data=np.ones(5), dtype=file["layers/00000000/type"])


def indexed_names(file: h5py.File) -> None:
    for number in range(9):
        file.create_group(f"layers/00000000/ä-{number}")


def indexed_attributes(file: h5py.File) -> None:
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_attr_phase_change(0, 0)
    create.set_attr_creation_order(h5py.h5p.CRT_ORDER_TRACKED)
    space, group = h5py.h5s.create_simple((5,)), file["layers/00000000"].id
    h5py.Dataset(h5py.h5d.create(group, b"one", h5py.h5t.NATIVE_DOUBLE, space, create)).attrs["unit"] = "x"


INDEX = "names or attributes with an index"
CHANGES = [
    (indexed_names, INDEX),
    (indexed_attributes, f"{INDEX}|no header of HDF5's oldest form"),
    (new_group, "no header of HDF5's oldest form"),  # one of the newer form, in a file of the oldest
    (in_itself, "groups that are no tree of a few levels"),
    (twice, "groups that are no tree of a few levels"),
    (deep, "groups that are no tree of a few levels"),
    (type_elsewhere, "its header refers to another|not an array"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_what_a_layer_never_holds(packed: Path, change: Callable[[h5py.File], None], reason: str) -> None:
    with h5py.File(packed, "a", libver="latest" if change is new_group else "earliest") as file:
        change(file)
    with pytest.raises(RunDamagedError, match=f"/layers/00000000.*({reason})"):
        Run.open(packed).arrays(0)
    assert sorted(Run.open(packed).arrays(1)) == sorted(arrays(1))


@pytest.mark.parametrize("count", [2, 40])
def test_what_is_written_has_no_index(tmp_path: Path, count: int) -> None:
    """Of many names, where HDF5 makes one for names that are UTF-8, or only declared to be."""
    many = {f"group-{number}/x": arrays(0)["spectrum/1"] for number in range(30)}
    with RunWriter.create_or_resume(tmp_path / "run.globa", manifest(count)) as writer:
        writer.write_layers([(record(index), many) for index in range(count)])
    path = pack(tmp_path / "run.globa", tmp_path / "run.h5")
    (layers,) = (tmp_path / "run.globa" / "layers").iterdir()
    for data in (path.read_bytes(), layers.read_bytes()):
        assert b"SNOD" in data
        assert not any(index in data for index in (b"FRHP", b"BTHD", b"OHDR"))
    assert list(Run.open(path).arrays(count - 1)) == sorted(many)


def test_an_index_is_read_in_a_run_of_before(packed: Path) -> None:
    with h5py.File(packed, "a") as file:
        indexed_names(file)
        file.attrs["format"] = 2
        manifest_text = file["manifest"][()].replace(b'"format":3', b'"format":2')
        del file["manifest"]
        ArrayWriter().text(file, "manifest", manifest_text)
    assert b"FRHP" in packed.read_bytes()
    assert sorted(Run.open(packed).arrays(0)) == sorted(arrays(0))


WIDTH, CHECKSUM, CHECKSUM_OF_NONE = 110, 142, 4178445489
"""Of the index in that file: places in its header, and what the checksum is with a width of 0."""
OLD = Path(__file__).parents[1] / "data" / "stores" / "real-v2" / "run"


def test_an_index_that_hdf5_does_not_survive_is_tried_in_another_process(tmp_path: Path) -> None:
    """The index of a group says that it is 0 blocks wide, with the checksum that goes with it: HDF5 divides by that."""
    shutil.copytree(OLD, tmp_path / "run")
    path = sorted((tmp_path / "run" / "layers").iterdir())[0]
    index = int(path.name[:8])
    assert Run.open(tmp_path / "run").arrays(index)
    data = bytearray(path.read_bytes())
    heap = data.find(b"FRHP")
    assert struct.unpack_from("<H", data, heap + WIDTH) == (4,)
    struct.pack_into("<H", data, heap + WIDTH, 0)
    struct.pack_into("<I", data, heap + CHECKSUM, CHECKSUM_OF_NONE)
    path.write_bytes(data)
    with pytest.raises(RunDamagedError, match="HDF5 does not come through it"):
        Run.open(tmp_path / "run").arrays(index)


def test_a_rehearsal_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.h5").write_bytes(b"")
    monkeypatch.setattr(rehearsal, "_SECONDS", 0.3)
    monkeypatch.setattr(rehearsal, "__file__", str(tmp_path / "waits.py"))
    (tmp_path / "waits.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(ValueError, match="does not come through"):
        rehearsal.require_rehearsed(str(tmp_path / "x.h5"))


def test_a_layer_file_with_a_circle_is_computed_again(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "run.globa", manifest(1)) as writer:
        writer.write_layer(record(0), arrays(0))
    (path,) = (tmp_path / "run.globa" / "layers").iterdir()
    heap = heap_of(path, "layers")
    free, data = word(path, heap + 16), word(path, heap + 24)
    patched(path, data + free, free, 16)
    assert valid_layers(path) == {}
    with RunWriter.create_or_resume(tmp_path / "run.globa", manifest(1)) as writer:
        assert writer.finished == set()


def test_free_places_between_names_are_no_damage(plain: Path) -> None:
    with h5py.File(plain, "a") as file:
        group = file["layers/00000000"]
        for number in range(40):
            h5py.h5g.create(group.id, f"extra-{number:02d}".encode())
        for number in (*range(0, 40, 2), *range(1, 40, 2)):
            del group[f"extra-{number:02d}"]
    assert list(read_plain(plain)) == ["spectrum/1"]
