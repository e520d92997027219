"""Tensors are read exactly, into their own memory, and only from the file that was indexed."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from store.checkpoints import Checkpoint, TensorReader, open_checkpoint
from store.checkpoints.dtypes import BITS, torch_dtype
from store.errors import CheckpointError
from tests.store import make

READABLE = sorted(code for code, bits in BITS.items() if bits >= 8)


def opened(folder: Path, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    save_file(tensors, folder / "model.safetensors")
    return open_checkpoint(str(folder))


@pytest.mark.parametrize("code", READABLE)
def test_reads_every_type(tmp_path: Path, code: str) -> None:
    dtype = torch_dtype(code)
    size = BITS[code] // 8
    raw = torch.arange(6 * size, dtype=torch.uint8)
    values = raw % 2 == 0 if code == "BOOL" else raw.view(dtype)
    reader = TensorReader(opened(tmp_path, {"first": torch.ones(3), "w": values.reshape(2, 3)}))
    found = reader.read("w")
    assert (found.dtype, found.shape) == (dtype, (2, 3))
    assert torch.equal(found.view(torch.uint8), values.reshape(2, 3).view(torch.uint8))
    assert torch.equal(reader.read_rows("w", 1, 2).view(torch.uint8), values.reshape(2, 3)[1:].view(torch.uint8))


@pytest.mark.parametrize("code", ["F4", "F6_E2M3"])
def test_says_when_torch_has_no_such_type(tmp_path: Path, code: str) -> None:
    make.zero_file(tmp_path / "model.safetensors", {"w": (code, (8,))})
    with pytest.raises(CheckpointError, match=f"has no type for {code}"):
        TensorReader(open_checkpoint(str(tmp_path))).read("w")


@given(
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    data=st.data(),
)
def test_any_shape_and_any_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], dtype: torch.dtype, data: st.DataObject
) -> None:
    values = (torch.randn(shape) * 3).to(dtype)
    folder = tmp_path_factory.mktemp("m")
    (folder / "model.safetensors").write_bytes(save({"w": values, "z": torch.ones(1)}))
    with TensorReader(open_checkpoint(str(folder))) as reader:
        assert torch.equal(reader.read("w"), values)
        if shape:
            start = data.draw(st.integers(0, shape[0]))
            stop = data.draw(st.integers(start, shape[0]))
            rows = reader.read_rows("w", start, stop)
            assert rows.shape == (stop - start, *shape[1:])
            assert torch.equal(rows, values[start:stop])


def test_a_tensor_owns_its_memory(tmp_path: Path) -> None:
    reader = TensorReader(opened(tmp_path, {"w": torch.arange(4.0)}))
    reader.read("w").zero_()
    assert torch.equal(reader.read("w"), torch.arange(4.0))
    values = reader.read("w")
    (tmp_path / "model.safetensors").unlink()
    assert torch.equal(values, torch.arange(4.0))


def test_any_byte_but_zero_is_true(tmp_path: Path) -> None:
    make.raw_file(tmp_path / "m.safetensors", make.header_of({"w": ("BOOL", (3,))}), b"\x00\x01\x02")
    values = TensorReader(open_checkpoint(str(tmp_path))).read("w")
    assert values.view(torch.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 5), (3, 2), (5, 5)])
def test_refuses_rows_that_are_not_there(tmp_path: Path, start: int, stop: int) -> None:
    reader = TensorReader(opened(tmp_path, {"w": torch.ones(4, 2), "scalar": torch.tensor(1.0)}))
    with pytest.raises(CheckpointError, match=rf"tensor w: rows {start} to {stop} asked of \[4, 2\]"):
        reader.read_rows("w", start, stop)
    with pytest.raises(CheckpointError, match=r"asked of \[\]"):
        reader.read_rows("scalar", 0, 0)


def test_any_range_of_entries_comes_back(tmp_path: Path) -> None:
    values = {"w": torch.arange(30, dtype=torch.bfloat16).reshape(2, 3, 5), "s": torch.tensor(3.0)}
    with TensorReader(opened(tmp_path, values)) as reader:
        for start, stop in ((0, 30), (7, 23), (30, 30), (0, 1)):
            assert torch.equal(reader.read_flat("w", start, stop), values["w"].reshape(-1)[start:stop])
        assert reader.read_flat("s", 0, 1).tolist() == [3.0]
        with pytest.raises(CheckpointError, match="tensor w: entries 0 to 31 asked of 30"):
            reader.read_flat("w", 0, 31)


def test_refuses_a_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tensor nix"):
        TensorReader(opened(tmp_path, {"w": torch.ones(4)})).read("nix")


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def grow_unseen(path: Path) -> None:
    before = path.stat()
    grow(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (grow, "bytes when it was indexed"),
        (grow_unseen, "bytes when it was indexed"),
        (touch, "was modified after it was indexed"),
        (Path.unlink, "cannot be read"),
    ],
)
def test_notices_a_source_that_changed(tmp_path: Path, change: Callable[[Path], None], expected: str) -> None:
    reader = TensorReader(opened(tmp_path, {"w": torch.ones(4)}))
    reader.read("w")
    change(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=expected):
        reader.read("w")


def test_notices_a_source_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = TensorReader(opened(tmp_path, {"w": torch.ones(4)}))
    real = os.fstat
    calls = 0

    def fstat(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        if calls == 3:  # the kind of file, before reading, after reading
            touch(tmp_path / "model.safetensors")
        return real(descriptor)

    monkeypatch.setattr("store.checkpoints.reader.os.fstat", fstat)
    with pytest.raises(CheckpointError, match="was modified"):
        reader.read("w")


def test_reads_in_as_many_steps_as_the_system_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(FileIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            return super().readinto(buffer[:7]) or 0

    monkeypatch.setattr("store.checkpoints.files.FileIO", Slow)
    values = torch.randn(5, 5)
    assert torch.equal(TensorReader(opened(tmp_path, {"w": values})).read("w"), values)


def test_a_read_that_ends_early_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(FileIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            return 0

    reader = TensorReader(opened(tmp_path, {"w": torch.ones(4)}))
    monkeypatch.setattr("store.checkpoints.files.FileIO", Short)
    with pytest.raises(CheckpointError, match="tensor w: 16 bytes are missing"):
        reader.read("w")


def test_an_input_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(FileIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            raise OSError(5, "Input/output error")

    reader = TensorReader(opened(tmp_path, {"w": torch.ones(4)}))
    monkeypatch.setattr("store.checkpoints.files.FileIO", Broken)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Input/output error\)"):
        reader.read("w")
