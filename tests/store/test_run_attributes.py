"""Attributes of strangers' files: whole numbers and texts, and nothing that HDF5 would not come back from."""

from __future__ import annotations

import faulthandler
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from store.errors import RunDamagedError
from store.run import Run, attributes
from store.run.attributes import read_int, read_texts
from store.run.pack import pack

STORES = Path(__file__).parents[1] / "data" / "stores"


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    """A loop in C ends neither by signals that Python handles nor by its threads."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def with_attribute(path: Path, value: Any) -> Path:
    with h5py.File(path, "w", libver="latest") as file:  # the oldest form has no attributes above 64 kB
        file.attrs["key"] = value
    return path


def texts(path: Path) -> tuple[str, ...]:
    with h5py.File(path, "r") as file:
        return read_texts(file, "key")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.uint32(7), 7),
        (np.array(-3, dtype=">i8"), -3),
        (7.0, None),
        ("7", None),
        ([7], None),
        (np.array([], dtype=np.int64), None),
        (h5py.Empty("i8"), None),
    ],
)
def test_a_whole_number_or_nothing(tmp_path: Path, value: Any, expected: int | None) -> None:
    with h5py.File(with_attribute(tmp_path / "x.h5", value), "r") as file:
        assert read_int(file, "key") == expected
        assert read_int(file, "other") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("σ of each", ("σ of each",)),
        (["a", "bcd"], ("a", "bcd")),
        (np.array("σ₁".encode(), dtype=h5py.string_dtype(length=5)), ("σ₁",)),
        (np.array([b"a", b"bcd"], dtype="S3"), ("a", "bcd")),
        (np.array([], dtype="S1"), ()),
        (np.bytes_(b"\xff"), ("\ufffd",)),
    ],
)
def test_texts_of_a_fixed_and_of_any_length(tmp_path: Path, value: Any, expected: tuple[str, ...]) -> None:
    assert texts(with_attribute(tmp_path / "x.h5", value)) == expected


@pytest.mark.parametrize("value", [1, [1.0, 2.0], np.array([[b"a"]]), h5py.Empty("S3"), ["x"] * 10_000])
def test_other_things_are_no_texts(tmp_path: Path, value: Any) -> None:
    path = with_attribute(tmp_path / "x.h5", value)
    with pytest.raises(ValueError, match="key: not texts"):
        texts(path)


HEAD = 16


def damaged(path: Path, damage: str) -> Path:
    """Change the heap that holds the texts of a file."""
    data = bytearray(path.read_bytes())
    heap = data.find(b"GCOL")
    size = int.from_bytes(data[heap + 8 : heap + 16], "little")
    assert heap > 0
    assert size == 4096
    if damage == "no end":
        data[heap + HEAD : heap + 2 * HEAD] = bytes(HEAD)
    elif damage == "a rest of 8 bytes":
        data[heap + HEAD : heap + 2 * HEAD] = bytes(8) + (8).to_bytes(8, "little")
    elif damage == "reserved bytes":
        data[heap + 5] = 1
        data[heap + HEAD : heap + 2 * HEAD] = bytes(HEAD)
    elif damage == "a second one":
        data += b"GCOL\1\0\0\0" + (4096).to_bytes(8, "little") + bytes(4080)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("damage", ["no end", "a rest of 8 bytes", "reserved bytes", "a second one"])
def test_a_heap_without_an_end_is_never_walked_through(tmp_path: Path, damage: str) -> None:
    path = with_attribute(tmp_path / "x.h5", ["left", "right"])
    assert texts(path) == ("left", "right")
    damaged(path, damage)
    with pytest.raises(ValueError, match="a heap of texts does not hold together"):
        texts(path)


def test_a_heap_is_found_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = damaged(with_attribute(tmp_path / "x.h5", "text"), "no end")
    for block in (1000, 1024, *range(path.read_bytes().find(b"GCOL") + 1, path.read_bytes().find(b"GCOL") + 6)):
        monkeypatch.setattr(attributes, "_BLOCK", block)
        attributes._heaps_are_sound.cache_clear()
        with pytest.raises(ValueError, match="does not hold together"):
            texts(path)


def test_numbers_that_look_like_a_heap_are_none(tmp_path: Path) -> None:
    """Nine in ten of them claim to be larger than the file; HDF5 itself would refuse those."""
    path = with_attribute(tmp_path / "x.h5", "text")
    with h5py.File(path, "a") as file:
        file["numbers"] = np.frombuffer(b"GCOL\1abc" + b"\xff" * 8 + b"GCOL\1\0\0\0" + (64).to_bytes(8, "little"))
    assert texts(path) == ("text",)


def test_a_heap_larger_than_any_of_ours_is_refused(tmp_path: Path) -> None:
    path = with_attribute(tmp_path / "x.h5", "text")
    with path.open("ab") as file:
        file.write(b"GCOL\1\0\0\0" + (3 << 20).to_bytes(8, "little") + b"\1" * (3 << 20))
    with pytest.raises(ValueError, match="does not hold together"):
        texts(path)


@pytest.mark.parametrize("name", ["v1.h5", "v2.h5"])
def test_an_old_file_with_such_a_heap_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((STORES / name).read_bytes())
    pack(path, tmp_path / "whole.h5", allow_incomplete=True)
    with pytest.raises(RunDamagedError, match=re.escape(f"{path}: damaged (a heap of texts")):
        pack(damaged(path, "no end"), tmp_path / "again.h5", allow_incomplete=True)
    assert not (tmp_path / "again.h5").exists()


@pytest.mark.parametrize("name", ["v1.h5", "v2.h5"])
def test_what_is_written_has_no_heap(tmp_path: Path, name: str) -> None:
    path = pack(STORES / name, tmp_path / "now.h5", allow_incomplete=True)
    assert b"GCOL" in (STORES / name).read_bytes()
    assert b"GCOL" not in path.read_bytes()
    with h5py.File(STORES / name) as then, h5py.File(path) as now:
        for key in ("unit", "description", "dims"):
            before, after = (file["layers/00000000/basis/left"] for file in (then, now))
            assert read_texts(before, key) == read_texts(after, key)
    assert Run.open(path).manifest == Run.open(STORES / name).manifest
