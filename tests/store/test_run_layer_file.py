"""Layer files: what goes in comes out, the same bytes each time, and a stranger's file is not believed."""

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from store.errors import RunDamagedError, RunForeignError
from store.run import FORMAT, Array, array_writer, layer_file
from store.run.array_writer import ArrayWriter
from store.run.hdf5 import open_file
from store.run.layer_file import arrays_in, layer_group, layers_of, read_arrays, read_record, valid_layers
from tests.store.run_samples import arrays, assert_layer, record

Arrays = dict[str, np.ndarray[Any, Any]]


def read(path: Path, index: int = 0) -> Arrays:
    with open_file(path) as file:
        group = layer_group(layers_of(file), index)
        return dict(read_arrays(group, arrays_in(group)))


def write(path: Path, count: int = 1) -> Path:
    layer_file.write_layer_file(path, [(record(index), arrays(index)) for index in range(count)])
    return path


def test_a_group_of_layers_in_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", 3)
    for index in range(3):
        assert_layer(read(path, index), index)
    assert sorted(valid_layers(path)) == [0, 1, 2]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st_np.arrays(
        st.sampled_from(["<f2", "<f4", "<f8", "i1", "u1", "<i4", "<u2", "<i8"]),
        st_np.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    transposed=st.booleans(),
    block=st.sampled_from([1, 16, 1 << 26]),
)
def test_arrays_come_back_as_they_were(
    tmp_path: Path, values: np.ndarray[Any, Any], transposed: bool, block: int
) -> None:
    """Bit for bit, NaN included, in any memory order, and however small the blocks they are copied in."""
    values = values.T if transposed else values
    dims = tuple(f"axis{axis}" for axis in range(values.ndim))
    path = tmp_path / "x.h5"
    before, array_writer._BLOCK = array_writer._BLOCK, block
    try:
        layer_file.write_layer_file(path, [(record(0), {"a/b": Array(values, "1", "numbers", dims)})])
    finally:
        array_writer._BLOCK = before
    found = read(path)["a/b"]
    assert found.dtype == values.dtype
    assert found.shape == values.shape
    assert found.tobytes() == np.ascontiguousarray(values).tobytes()


def test_a_file_made_in_memory_and_one_made_on_the_disk_hold_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small and large layers take different ways to the disk; a reader sees the same text, numbers and attributes."""
    monkeypatch.setattr(layer_file, "_SMALL", 0)
    on_disk = write(tmp_path / "disk.h5")
    monkeypatch.setattr(layer_file, "_SMALL", 1 << 24)
    in_memory = write(tmp_path / "memory.h5")
    for path in (on_disk, in_memory):
        with h5py.File(path, "r") as file:
            about = file["layers/00000000/spectrum/1"].attrs
            assert list(about) == ["crc32", "description", "dims", "unit"]
            assert (about["unit"], about["description"]) == (b"1", b"singular values of task vector 1")
            assert list(about["dims"]) == [b"rank"]
        assert_layer(read(path), 0)
    with open_file(on_disk) as one, open_file(in_memory) as two:
        assert read_record(layers_of(one), 0) == read_record(layers_of(two), 0)


def test_other_byte_orders_and_truth_values_are_written_plainly(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    given_arrays = {
        "big": Array(np.arange(3, dtype=">f8"), "1", "x", ("n",)),
        "bool": Array(np.array([True, False]), "1", "x", ("n",)),
    }
    layer_file.write_layer_file(path, [(record(0), given_arrays)])
    found = read(path)
    assert found["big"].tolist() == [0, 1, 2]
    assert found["bool"].tolist() == [1, 0]
    assert found["bool"].dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a", Array(np.zeros(3), "1", "x", ())),
        ("a", Array(np.array(["x"]), "1", "x", ("n",))),
        ("a", Array(np.zeros(3, dtype=complex), "1", "x", ("n",))),
        ("record", Array(np.zeros(3), "1", "x", ("n",))),
        ("record/x", Array(np.zeros(3), "1", "x", ("n",))),
        ("about", Array(np.zeros(3), "1", "x", ("n",))),
    ],
)
def test_what_a_reader_would_not_understand_is_not_written(tmp_path: Path, name: str, array: Array) -> None:
    with pytest.raises(ValueError, match=name):
        layer_file.write_layer_file(tmp_path / "x.h5", [(record(0), {name: array})])
    assert list(tmp_path.iterdir()) == []


WRITE_AGAIN = """
import sys
from pathlib import Path
from store.run.layer_file import write_layer_file
from tests.store.run_samples import arrays, record
items = [(record(index, seconds=float(sys.argv[2])), arrays(index)) for index in range(2)]
write_layer_file(Path(sys.argv[1]), items)
"""


def test_the_same_analysis_gives_the_same_bytes(tmp_path: Path) -> None:
    """In another process, another second, and having taken another time."""
    root = Path(__file__).parents[2]
    for name, seconds in (("one.h5", "1.5"), ("two.h5", "9.25")):
        subprocess.run([sys.executable, "-c", WRITE_AGAIN, str(tmp_path / name), seconds], cwd=root, check=True)
        time.sleep(1.1 if name == "one.h5" else 0)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_every_array_says_what_it_is(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "x.h5"), "r") as file:
        dataset = file["layers/00000000/basis/left"]
        assert dataset.attrs["unit"] == b"1"
        assert dataset.attrs["description"] == b"left common basis"
        assert list(dataset.attrs["dims"]) == [b"rows", b"directions"]
        assert file.attrs["format"] == FORMAT


def test_layers_that_share_a_file_say_it_in_a_text(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "x.h5", 2), "r") as file:
        group = file["layers/00000001"]
        assert not group["basis/left"].attrs
        crc = zlib.crc32(group["basis/left"][()].tobytes())
        assert json.loads(group["about"][()])["basis/left"] == [crc, "1", "left common basis", ["rows", "directions"]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{" * 1000, "not what is said of arrays"),
        (b"[" * 100_000, "not what is said of arrays"),
        (b"[]", "not what is said of arrays"),
        (b'{"spectrum/1": 5}', "not what is said of arrays"),
        (b'{"spectrum/1": [null, "", "", []]}', "not what is said of arrays"),
        (b"{}", "has no checksum"),
        (b'{"spectrum/1": [1, "", "", []]}', "the checksum differs"),
    ],
)
def test_a_strange_text_about_arrays_is_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    path = write(tmp_path / "x.h5", 2)
    with h5py.File(path, "a") as file:
        del file["layers/00000000/about"]
        ArrayWriter().text(file["layers/00000000"], "about", text)
    with pytest.raises(RunDamagedError, match=rf"x\.h5: /layers/00000000/\S+: {reason}"):
        read_some(path)
    assert sorted(valid_layers(path)) == [1]


# A stranger's files.


def read_some(path: Path) -> None:
    with open_file(path) as file:
        layers = layers_of(file)
        read_record(layers, 0)
        group = layer_group(layers, 0)
        for _ in read_arrays(group, {"spectrum/1": arrays_in(group)["spectrum/1"]}):
            pass


def replace(file: h5py.File, **more: Any) -> h5py.Dataset:
    del file["layers/00000000/spectrum/1"]
    dataset = file.create_dataset("layers/00000000/spectrum/1", **more)
    dataset.attrs["crc32"] = 0
    return dataset


def external_link(file: h5py.File) -> None:
    del file["layers/00000000/spectrum"]
    file["layers/00000000/spectrum"] = h5py.ExternalLink("secret.h5", "/layers/00000000/spectrum")


def soft_link(file: h5py.File) -> None:
    del file["layers/00000000/spectrum/1"]
    file["layers/00000000/spectrum/1"] = h5py.SoftLink("/layers/00000000/basis/left")


def external_storage(file: h5py.File) -> None:
    replace(file, shape=(4,), dtype="u1", external=[("secret.txt", 0, 4)])


def virtual(file: h5py.File) -> None:
    del file["layers/00000000/spectrum/1"]
    layout = h5py.VirtualLayout((5,), dtype="f8")
    layout[:] = h5py.VirtualSource("secret.h5", "layers/00000000/spectrum/1", shape=(5,))
    file.create_virtual_dataset("layers/00000000/spectrum/1", layout)


def bomb(file: h5py.File) -> None:
    replace(file, shape=(1 << 50,), dtype="f8", chunks=(1 << 20,), compression="gzip")


def unwritten(file: h5py.File) -> None:
    replace(file, shape=(1 << 40,), dtype="f8")


def strings(file: h5py.File) -> None:
    replace(file, data=np.array([b"a", b"b"]))


def wrong_checksum(file: h5py.File) -> None:
    replace(file, data=[1.0, 2.0])


def no_checksum(file: h5py.File) -> None:
    del file["layers/00000000/spectrum/1"].attrs["crc32"]


def odd_checksum(file: h5py.File) -> None:
    file["layers/00000000/spectrum/1"].attrs["crc32"] = "x"


def group_for_array(file: h5py.File) -> None:
    del file["layers/00000000/spectrum/1"]
    file.create_group("layers/00000000/spectrum/1")


def array_for_group(file: h5py.File) -> None:
    del file["layers/00000000"]
    file["layers/00000000"] = [1.0]


def no_record(file: h5py.File) -> None:
    del file["layers/00000000/record"]


def record_of_another(file: h5py.File) -> None:
    del file["layers/00000000/record"]
    ArrayWriter().text(file["layers/00000000"], "record", b'{"index":5,"status":"done"}')


def record_is_numbers(file: h5py.File) -> None:
    del file["layers/00000000/record"]
    file["layers/00000000/record"] = [1, 2]


def record_is_no_json(file: h5py.File) -> None:
    del file["layers/00000000/record"]
    ArrayWriter().text(file["layers/00000000"], "record", b"{" * 1000)


ELSEWHERE = "not stored in one piece inside the file"
HOSTILE = [
    (external_link, "a link"),
    (soft_link, "a link"),
    (external_storage, ELSEWHERE),
    (virtual, ELSEWHERE),
    (bomb, ELSEWHERE),
    (unwritten, "8,796,093,022,208 bytes claimed, 0 stored"),
    (strings, "not numbers"),
    (wrong_checksum, "the checksum differs"),
    (no_checksum, "no checksum"),
    (odd_checksum, "no checksum"),
    (group_for_array, "3 claimed, 2 found"),
    (array_for_group, "not a group"),
    (no_record, "missing"),
    (record_of_another, "not the record of layer 0"),
    (record_is_numbers, "not a text"),
    (record_is_no_json, "not the record of layer 0"),
]


@pytest.mark.parametrize(("change", "reason"), HOSTILE)
def test_a_hostile_file_is_refused_naming_file_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[h5py.File], None], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "secret.h5")
    (tmp_path / "secret.txt").write_text("password")
    path = write(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(RunDamagedError) as caught:
        read_some(path)
    assert str(path) in str(caught.value)
    assert "/layers/00000000" in str(caught.value)
    assert reason in str(caught.value)
    assert "resume" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert valid_layers(path) == {}


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "text", "flipped"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "x.h5")
    content = bytearray(path.read_bytes())
    position = content.find(arrays(0)["spectrum/1"].values.tobytes())
    assert position > 0
    content[position] ^= 1
    damaged = {
        "cut": path.read_bytes()[:-100],
        "empty": b"",
        "zeros": bytes(len(content)),
        "text": b"not HDF5",
        "flipped": bytes(content),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(RunDamagedError, match=str(path)):
        read(path)
    assert valid_layers(path) == {}


def test_a_newer_layer_file_says_update(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        file.attrs["format"] = FORMAT + 1
    with pytest.raises(RunForeignError, match="update globa-tui"):
        read(path)


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere.h5")
    (tmp_path / "x.h5").symlink_to(tmp_path / "elsewhere.h5")
    with pytest.raises(RunDamagedError, match="not a plain file"):
        read(tmp_path / "x.h5")


def test_random_damage_never_gives_wrong_numbers(tmp_path: Path) -> None:
    """Whatever bytes change: the numbers that come out are those that went in, or there is an error of ours."""
    path = write(tmp_path / "x.h5")
    content, random = path.read_bytes(), np.random.default_rng(0)
    expected = {name: array.values for name, array in arrays(0).items()}
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), int(random.integers(1, 20))):
            damaged[position] = int(random.integers(0, 256))
        path.write_bytes(damaged)
        try:
            found = read(path)
        except (RunDamagedError, RunForeignError):
            refused += 1
            continue
        for name, values in found.items():
            if name in expected:
                np.testing.assert_array_equal(values, expected[name])
    assert refused > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs flock")
def test_a_file_that_somebody_locked_can_be_read(tmp_path: Path) -> None:
    """Readers do not lock, so that no lock of another, and no file system without locks, stops them."""
    import fcntl

    path = write(tmp_path / "x.h5")
    with path.open("rb+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert_layer(read(path), 0)
        with pytest.raises(OSError, match="unable to lock file"):
            h5py.File(path, "r")


def test_importing_the_store_is_cheap() -> None:
    code = "import sys, store.run; print(sorted({'torch', 'h5py', 'numpy'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert answer.stdout == "[]\n"
