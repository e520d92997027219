"""Hub ids: from the local cache without the network, downloaded only on request and only harmless files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from store.checkpoints import open_checkpoint
from store.checkpoints.hub import hub_id, wanted_files
from store.errors import CheckpointError
from tests.store import make

WEIGHTS = {"w": ("F32", (2,))}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a network that fails the test when it is used."""

    def no_network(*args: object, **kwargs: object) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def weights(folder: Path) -> bytes:
    return make.zero_file(folder / "made.safetensors", WEIGHTS).read_bytes()


def test_opens_from_the_cache(cache: Path, tmp_path: Path) -> None:
    snapshot = make.hub_cache(cache, "org/name", {"model.safetensors": weights(tmp_path), "config.json": b'{"a": 1}'})
    found = open_checkpoint("org/name")
    assert (found.source, found.path, found.config) == ("org/name", snapshot, {"a": 1})
    assert found.tensors["w"].file == snapshot / "model.safetensors"
    assert open_checkpoint("org/name", download=True).path == snapshot
    assert open_checkpoint(f"org/name@{snapshot.name}").path == snapshot


def test_opens_a_model_without_an_organisation(cache: Path, tmp_path: Path) -> None:
    make.hub_cache(cache, "gpt2", {"model.safetensors": weights(tmp_path)})
    assert list(open_checkpoint("gpt2").tensors) == ["w"]


def test_a_folder_of_that_name_comes_first(cache: Path, tmp_path: Path) -> None:
    make.hub_cache(cache, "org/name", {"model.safetensors": weights(tmp_path)})
    make.zero_file(tmp_path / "org" / "name" / "model.safetensors", {"local": ("F32", (1,))})
    assert list(open_checkpoint("org/name").tensors) == ["local"]


def test_says_in_one_line_what_to_do_when_it_is_not_cached(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint("org/name@v1")
    expected = "org/name@v1: is neither here nor in the Hub cache; check the path, or run: hf download org/name"
    assert str(error.value) == expected + " --revision v1"
    make.hub_cache(cache, "org/config-only", {"config.json": b"{}"})
    with pytest.raises(CheckpointError, match="is in the local Hub cache without its weights; .* hf download"):
        open_checkpoint("org/config-only")


def test_a_snapshot_may_not_link_out_of_its_repository(cache: Path, tmp_path: Path) -> None:
    snapshot = make.hub_cache(cache, "org/name", {"model.safetensors": weights(tmp_path)})
    (snapshot / "config.json").symlink_to(tmp_path / "made.safetensors")
    with pytest.raises(CheckpointError, match="is a link out of its folder"):
        open_checkpoint("org/name")


def test_downloads_only_what_is_wanted(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = weights(tmp_path)
    asked: list[Any] = []

    def download(repo: str, *, revision: str | None, local_files_only: bool = False, allow_patterns: Any = None) -> str:
        if local_files_only:
            raise FileNotFoundError
        asked.append((repo, revision, allow_patterns))
        return str(make.hub_cache(cache, repo, {"model.safetensors": content}))

    def model_info(self: object, repo: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        names = ["model.safetensors", "modeling.py", "pytorch_model.bin", "config.json"]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(CheckpointError, match="neither here nor"):
        open_checkpoint("org/name@v1")
    assert not asked
    assert list(open_checkpoint("org/name@v1", download=True).tensors) == ["w"]
    assert asked == [("org/name", "v1", ["model.safetensors", "config.json"])]


@pytest.mark.parametrize("make_error", [lambda: ConnectionError("no route\nto host"), lambda: RuntimeError("")])
def test_an_unreachable_hub_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, make_error: Callable[[], Exception]
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise make_error()

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    with pytest.raises(CheckpointError) as error:
        open_checkpoint("org/name", download=True)
    assert str(error.value).startswith("org/name: cannot be fetched from the Hub (")
    assert str(error.value).endswith("; check name and network")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("gpt2", ("gpt2", None)),
        ("org/name", ("org/name", None)),
        ("org/na.me-1_b@v1.0", ("org/na.me-1_b", "v1.0")),
        ("org/name@refs/pr/3", ("org/name", "refs/pr/3")),
        ("./name", None),
        ("../name", None),
        ("/name", None),
        ("a/b/c", None),
        ("org/name@", None),
        ("org/name@../x", None),
        ("--help/x", None),
        ("org/name\n", None),
        ("örg/name", None),
        ("https://huggingface.co/org/name", None),
    ],
)
def test_recognises_hub_ids(source: str, expected: tuple[str, str | None] | None) -> None:
    assert hub_id(source) == expected


SIDECARS = ["config.json", "generation_config.json", "merges.txt", "tokenizer.json", "tokenizer.model", "vocab.txt"]


@pytest.mark.parametrize(
    ("offered", "weights"),
    [
        (["model.safetensors", "consolidated.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (
            ["model-1-of-2.safetensors", "model-2-of-2.safetensors", "consolidated.safetensors"],
            ["model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"],
        ),
        (["weights.safetensors", "pytorch_model.bin"], ["weights.safetensors"]),
        (
            ["pytorch_model-1-of-1.bin", "training_args.bin"],
            ["pytorch_model-1-of-1.bin", "pytorch_model.bin.index.json"],
        ),
    ],
)
def test_wants_weights_in_one_format_and_no_code(offered: list[str], weights: list[str]) -> None:
    indexes = [name for name in weights if name.endswith("index.json")]
    unwanted = ["modeling_x.py", "onnx/model.safetensors", "README.md", "flax_model.msgpack", "*.json", "setup.sh"]
    assert sorted(wanted_files([*offered, *indexes, *unwanted, *SIDECARS])) == sorted([*weights, *SIDECARS])


def test_does_not_want_the_index_of_weights_it_leaves() -> None:
    wanted = wanted_files(["model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"])
    assert wanted == ["model.safetensors"]
