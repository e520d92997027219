"""Sources are found, and nothing outside them is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from store.checkpoints import open_checkpoint
from store.errors import CheckpointError
from tests.store import make

TENSORS = {f"layers.{number}.weight": torch.full((2, 2), float(number)) for number in range(6)}
TINY = {"w": torch.ones(2)}


def refused(source: Path | str) -> str:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(str(source))
    text = str(error.value)
    assert text.isprintable()
    assert "; " in text, "the message has no cure"
    return text


def test_opens_a_folder_with_one_file(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TENSORS, {"model_type": "llama"})
    found = open_checkpoint(str(folder))
    assert (found.source, found.path, found.format) == (str(folder), folder, "safetensors")
    assert set(found.tensors) == set(TENSORS)
    assert found.config == {"model_type": "llama"}
    assert [file.path.name for file in found.files] == ["model.safetensors"]
    assert found.nbytes == 6 * 16


def test_opens_shards_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = open_checkpoint(str(make.sharded(tmp_path / "m", TENSORS, 3)))
    assert len(found.files) == 3
    assert list(found.tensors) == [f"layers.{number}.weight" for number in (0, 3, 1, 4, 2, 5)]
    assert found.config == {}


def test_opens_one_file_with_a_config_only_when_it_is_alone(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TINY, {"model_type": "llama"})
    assert open_checkpoint(str(folder / "model.safetensors")).config == {"model_type": "llama"}
    make.zero_file(folder / "other.safetensors", {"w": ("F32", (2,))})
    assert open_checkpoint(str(folder / "model.safetensors")).config == {}


def test_opens_a_folder_whose_only_weights_have_another_name(tmp_path: Path) -> None:
    make.zero_file(tmp_path / "anything.safetensors", {"w": ("F32", (2,))})
    assert list(open_checkpoint(str(tmp_path)).tensors) == ["w"]


def test_prefers_one_whole_file_to_an_index_as_transformers_does(tmp_path: Path) -> None:
    make.sharded(tmp_path, TENSORS, 2)
    make.single(tmp_path, TINY)
    assert list(open_checkpoint(str(tmp_path)).tensors) == ["w"]


def test_prefers_safetensors_to_legacy_files(tmp_path: Path) -> None:
    make.single(tmp_path, TINY)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    assert open_checkpoint(str(tmp_path)).format == "safetensors"


def test_a_config_may_say_infinity_as_some_do(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TINY)
    (folder / "config.json").write_text('{"time_step_limit": [0.0, Infinity]}')
    assert open_checkpoint(str(folder)).config == {"time_step_limit": [0.0, float("inf")]}


@pytest.mark.parametrize("text", ["[1]", "{", '{"a":' * 5000, "\udcff"])
def test_refuses_a_broken_config(tmp_path: Path, text: str) -> None:
    folder = make.single(tmp_path / "m", TINY)
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "config.json" in refused(folder)


def test_refuses_a_config_of_unreasonable_size(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TINY)
    with (folder / "config.json").open("wb") as file:
        file.truncate(10_000_001)
    assert "10,000,001 bytes where at most 10,000,000" in refused(folder)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "no model.safetensors"),
        (["a.safetensors", "b.safetensors"], "2 .safetensors files and no model.safetensors.index.json"),
        (["adapter_config.json"], "has adapter_config.json but no adapter_model.safetensors"),
    ],
)
def test_refuses_a_folder_without_a_whole_model(tmp_path: Path, files: list[str], expected: str) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"")
    assert expected in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("model.gguf", "is a GGUF file, which is quantised"),
        ("pytorch_model.bin", "is not a .safetensors file"),
        ("notes.txt", "is not a .safetensors file"),
    ],
)
def test_refuses_a_file_of_another_kind(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / name).write_bytes(bytes(100))
    assert why in refused(tmp_path / name)


def test_refuses_a_file_without_tensors(tmp_path: Path) -> None:
    assert "holds no tensors" in refused(make.zero_file(tmp_path / "m.safetensors", {}))


@pytest.mark.parametrize("source", ["", "no/such/folder", "/no/such/file.safetensors", "x" * 5000, "a\0b", "~nobody/m"])
def test_refuses_what_is_not_there(source: str) -> None:
    refused(source)


def test_refuses_an_index_that_names_a_missing_shard(tmp_path: Path) -> None:
    folder = make.sharded(tmp_path, TENSORS, 3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    text = refused(folder)
    assert "model-00002-of-00003.safetensors for layers.1.weight, and that file is missing" in text


def test_refuses_an_index_that_names_a_tensor_its_shard_lacks(tmp_path: Path) -> None:
    folder = make.sharded(tmp_path, TENSORS, 2)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    make.write_index(folder, {"layers.0.weight": second, "layers.1.weight": first})
    assert f"says that layers.0.weight is in {second}, but it is in {first}" in refused(folder)
    make.write_index(folder, {"ghost": first})
    assert "ghost is in model-00001-of-00002.safetensors, but no file has it" in refused(folder)


def test_refuses_a_tensor_in_two_shards(tmp_path: Path) -> None:
    for number in (1, 2):
        make.zero_file(tmp_path / f"{number}.safetensors", {"w": ("F32", (2,)), f"x{number}": ("F32", (1,))})
    make.write_index(tmp_path, {"w": "1.safetensors", "x2": "2.safetensors"})
    assert "w: is in two files" in refused(tmp_path)


def test_keeps_a_tensor_the_index_forgot(tmp_path: Path) -> None:
    make.zero_file(tmp_path / "1.safetensors", {"w": ("F32", (2,)), "forgotten": ("F32", (1,))})
    make.write_index(tmp_path, {"w": "1.safetensors"})
    assert list(open_checkpoint(str(tmp_path)).tensors) == ["w", "forgotten"]


@pytest.mark.parametrize("weight_map", [[], {}, "x", None, {"w": 3}, {"w": None}, {"w": ["m"]}])
def test_refuses_an_index_without_a_map(tmp_path: Path, weight_map: object) -> None:
    text = json.dumps({"weight_map": weight_map})
    (tmp_path / "model.safetensors.index.json").write_text(text)
    refused(tmp_path)


def test_refuses_an_index_with_a_name_twice(tmp_path: Path) -> None:
    make.zero_file(tmp_path / "1.safetensors", {"w": ("F32", (2,))})
    text = '{"weight_map": {"w": "1.safetensors", "w": "../1.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert "'w' occurs twice" in refused(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "a/../../secret.safetensors",
        "..",
        ".",
        "",
        "a\\b",
        "a\0b",
        "\ud800",
        "x" * 999,
    ],
)
def test_refuses_a_shard_outside_the_folder(tmp_path: Path, name: str) -> None:
    make.zero_file(tmp_path / "secret.safetensors", {"w": ("F32", (2,))})
    folder = tmp_path / "m"
    folder.mkdir()
    make.write_index(folder, {"w": name})
    refused(folder)


def test_refuses_a_shard_that_climbs_even_when_it_stays_inside(tmp_path: Path) -> None:
    make.zero_file(tmp_path / "parts" / "1.safetensors", {"w": ("F32", (2,))})
    make.write_index(tmp_path, {"w": "parts/../parts/1.safetensors"})
    assert "is not inside the folder" in refused(tmp_path)


def test_accepts_a_shard_in_a_subfolder(tmp_path: Path) -> None:
    make.zero_file(tmp_path / "parts" / "1.safetensors", {"w": ("F32", (2,))})
    make.write_index(tmp_path, {"w": "parts/1.safetensors"})
    assert list(open_checkpoint(str(tmp_path)).tensors) == ["w"]


def test_refuses_links_out_of_the_folder(tmp_path: Path) -> None:
    secret = make.zero_file(tmp_path / "secret.safetensors", {"w": ("F32", (2,))})
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(secret)
    assert "is a link out of its folder" in refused(folder)
    (folder / "model.safetensors").unlink()
    (folder / "inner").symlink_to(tmp_path)
    make.write_index(folder, {"w": "inner/secret.safetensors"})
    assert "is a link out of its folder" in refused(folder)


def test_refuses_a_config_linked_from_elsewhere(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TINY)
    (tmp_path / "secret.json").write_text('{"password": 1}')
    (folder / "config.json").symlink_to(tmp_path / "secret.json")
    assert "is a link out of its folder" in refused(folder)


def test_accepts_links_within_the_folder_and_a_link_to_the_folder(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TINY)
    (folder / "model.safetensors").rename(folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    (tmp_path / "alias").symlink_to(folder)
    assert list(open_checkpoint(str(tmp_path / "alias")).tensors) == ["w"]


def test_refuses_endless_links(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    refused(tmp_path)


def test_refuses_pipes_and_devices_without_waiting(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    os.mkfifo(folder / "model.safetensors")
    assert "is not a regular file" in refused(folder)
    assert "is not a regular file" in refused(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "is not a regular file" in refused(folder)
    refused("/dev/zero")


def test_refuses_a_pipe_as_config_or_index(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TINY)
    os.mkfifo(folder / "config.json")
    assert "is not a regular file" in refused(folder)
    other = tmp_path / "n"
    other.mkdir()
    os.mkfifo(other / "model.safetensors.index.json")
    assert "is not a regular file" in refused(other)


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "bad\x1b[31m\nname"
    folder.mkdir()
    assert "bad\\x1b[31m\\nname" in refused(folder)


def test_opening_and_indexing_load_neither_torch_nor_numpy(tmp_path: Path) -> None:
    folder = make.single(tmp_path / "m", TENSORS)
    program = (
        "import sys, store.checkpoints as c, store.merged as m\n"
        "b = c.open_checkpoint(sys.argv[1]); c.build_index(b, [b]).require_mergeable(); m.sidecar_files(b)\n"
        "c.TensorReader(b)\n"
        "print(sorted({'torch', 'numpy', 'h5py', 'safetensors', 'huggingface_hub'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
