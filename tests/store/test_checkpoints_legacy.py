"""Legacy .bin files: described in a process of their own, never unpickled into anything but tensors."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from store.checkpoints import TensorReader, build_index, open_checkpoint
from store.checkpoints import legacy as legacy_module
from store.checkpoints.legacy_headers import list_tensors, load
from store.errors import CheckpointError
from tests.store import make

SHARED = torch.arange(12.0).reshape(3, 4)
TENSORS: dict[str, object] = {
    "embed_tokens.weight": SHARED,
    "half": torch.arange(5, dtype=torch.bfloat16),
    "turned": SHARED.t(),
    "empty": torch.empty(0, 3),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "lm_head.weight": SHARED,
}


class Evil:
    """Pickles into a call of os.system."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """List tensors here: a process that imports torch anew takes seconds."""

    def run(paths: list[Path]) -> list[object]:
        return list(json.loads(json.dumps([list_tensors(path) for path in paths])))

    monkeypatch.setattr(legacy_module, "_run", run)


def test_opens_a_folder_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The only test that starts the real process, with shards, a broken one and an index."""
    folder = make.legacy(tmp_path / "m", TENSORS)
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-1.bin")
    torch.save({"more": torch.ones(2)}, folder / "pytorch_model-2.bin")
    weight_map = {**dict.fromkeys(TENSORS, "pytorch_model-1.bin"), "more": "pytorch_model-2.bin"}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    found = open_checkpoint(str(folder))
    assert found.format == "legacy"
    assert {name: (t.dtype, t.shape) for name, t in found.tensors.items()} == {
        "embed_tokens.weight": ("F32", (3, 4)),
        "half": ("BF16", (5,)),
        "turned": ("F32", (4, 3)),
        "empty": ("F32", (0, 3)),
        "scalar": ("I64", ()),
        "lm_head.weight": ("F32", (3, 4)),
        "more": ("F32", (2,)),
    }
    assert [file.path.name for file in found.files] == ["pytorch_model-1.bin", "pytorch_model-2.bin"]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.usefixtures("in_process")
def test_reads_every_tensor_into_its_own_memory(tmp_path: Path, zipped: bool) -> None:
    folder = make.legacy(tmp_path / "m", TENSORS, zipped=zipped)
    found = open_checkpoint(str(folder))
    with TensorReader(found) as reader:
        for name, tensor in TENSORS.items():
            assert isinstance(tensor, torch.Tensor)
            values = reader.read(name)
            assert values.dtype == tensor.dtype
            assert torch.equal(values, tensor)
            assert values.is_contiguous()
        assert torch.equal(reader.read_rows("turned", 1, 3), SHARED.t()[1:3])
        reader.read("lm_head.weight").zero_()
        assert torch.equal(reader.read("embed_tokens.weight"), SHARED)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.usefixtures("in_process")
def test_finds_tensors_that_share_their_bytes(tmp_path: Path, zipped: bool) -> None:
    found = open_checkpoint(str(make.legacy(tmp_path / "m", TENSORS, zipped=zipped)))
    ties = {layer.name: layer.tied_to for layer in build_index(found, [found]).layers}
    assert ties["lm_head.weight"] == "embed_tokens.weight"
    assert [name for name, tied in ties.items() if tied] == ["lm_head.weight"]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.usefixtures("in_process")
def test_the_identity_of_a_file_does_not_depend_on_addresses(tmp_path: Path, zipped: bool) -> None:
    folder = make.legacy(tmp_path / "m", TENSORS, zipped=zipped)
    first = open_checkpoint(str(folder)).files
    keep = torch.empty(1_000_000)
    assert open_checkpoint(str(folder)).files == first
    assert keep.numel()
    other = make.legacy(tmp_path / "n", {**TENSORS, "half": torch.ones(6)}, zipped=zipped)
    assert open_checkpoint(str(other)).files[0].header_sha256 != first[0].header_sha256


@pytest.mark.parametrize("zipped", [True, False])
def test_runs_nothing_that_a_file_asks_for(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "ran"
    folder = make.legacy(tmp_path / "m", {"w": Evil(mark)}, zipped=zipped)
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(Evil(mark)))
    assert "error" in list_tensors(folder / "pytorch_model.bin")
    assert "error" in list_tensors(tmp_path / "plain.bin")
    assert not mark.exists()
    pickle.loads((tmp_path / "plain.bin").read_bytes())
    assert mark.exists(), "the file was harmless, so the test proved nothing"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([torch.ones(2)], "holds a list, not named tensors"),
        ({"state_dict": {"w": torch.ones(2)}}, "'state_dict' is a dict, not a tensor"),
        ({"step": 3}, "'step' is a int, not a tensor"),
        ({3: torch.ones(2)}, "entry 3 is a Tensor"),
        ({"w": torch.ones(2, 2).to_sparse()}, "not a dense tensor"),
        ({"w": torch.ones(1).expand(10**12)}, "claims more bytes than the file"),
    ],
)
def test_refuses_anything_but_named_dense_tensors(tmp_path: Path, content: object, expected: str) -> None:
    torch.save(content, tmp_path / "m.bin")
    assert expected in list_tensors(tmp_path / "m.bin")["error"]


@pytest.mark.usefixtures("in_process")
def test_a_pickle_is_refused_in_our_own_words(tmp_path: Path) -> None:
    """torch's advise to set weights_only to False, which would run what the file asks for."""
    for content, what in (
        (
            {"w": torch.ones(2), "args": argparse.Namespace()},
            "holds more than tensors (it asks for argparse.Namespace)",
        ),
        ({"w": Evil(tmp_path / "ran")}, "holds more than tensors (it asks for posix.system)"),
        (b"no pickle", "holds more than tensors, or is damaged"),
    ):
        folder = make.legacy(tmp_path / "m", content if isinstance(content, dict) else {})
        path = folder / "pytorch_model.bin"
        if isinstance(content, bytes):
            path.write_bytes(content)
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(str(folder))
        cure = "name a safetensors version of the model, or fetch it again"
        assert str(error.value) == f"{path}: {what}, and is never unpickled; {cure}"


def test_refuses_a_torch_that_runs_code_of_such_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make.legacy(tmp_path / "m", TENSORS)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ValueError, match="2.6 or newer is needed"):
        load(folder / "pytorch_model.bin")


@pytest.mark.usefixtures("in_process")
def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "m", TENSORS)
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="name a safetensors version") as error:
        open_checkpoint(str(folder))
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).isprintable()


@pytest.mark.usefixtures("in_process")
def test_notices_a_file_that_changed(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "m", TENSORS)
    found = open_checkpoint(str(folder))
    os.utime(folder / "pytorch_model.bin", ns=(1, 1))
    with TensorReader(found) as reader, pytest.raises(CheckpointError, match="was modified after it was indexed"):
        reader.read("half")


def test_a_listing_process_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make.legacy(tmp_path / "m", TENSORS)
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no torch\\nhere')")
    monkeypatch.setattr(legacy_module, "_PROGRAM", broken)
    with pytest.raises(CheckpointError, match=r"the process that lists its tensors failed \(here\)"):
        open_checkpoint(str(folder))


@pytest.mark.usefixtures("in_process")
def test_refuses_pipes_before_torch_sees_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_checkpoint(str(tmp_path))
