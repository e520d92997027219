"""Which files of a folder are the model: one file, or the shards an index names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from store.checkpoints.adapter_config import CONFIG_NAME
from store.checkpoints.files import inside, unreadable
from store.checkpoints.json_text import read_object
from store.checkpoints.text import shown
from store.errors import CheckpointError

MAX_INDEX = 100_000_000
MAX_CONFIG = 10_000_000
"""Bytes of an index and of a config.json; far above any real one."""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files of a folder."""

    format: Literal["safetensors", "legacy"]
    files: tuple[Path, ...]
    index: Path | None = None
    weight_map: Mapping[str, Path] = field(default_factory=dict)
    """Tensor name to its shard, as the index says; empty without an index."""
    adapter: bool = False
    """Whether they are a PEFT adapter, not a whole model."""


def find_weights(folder: Path) -> WeightFiles:
    """Find the weights the way ``transformers`` does: safetensors first, one file before an index.

    Raises
    ------
    CheckpointError
        When there are none, several that nothing ties together, or an index that names missing or foreign files.
    """
    names = _names(folder)
    safetensors = sorted(name for name in names if name.endswith(".safetensors"))
    if "model.safetensors" in names:
        return WeightFiles("safetensors", (inside(folder, "model.safetensors"),))
    for index in _indexes(names, "model.safetensors.index.json", ".safetensors.index.json"):
        return _sharded(folder, index, "safetensors")
    if CONFIG_NAME in names:
        return _adapter(folder, names)
    if len(safetensors) == 1:
        return WeightFiles("safetensors", (inside(folder, safetensors[0]),))
    if safetensors:
        found = f"{len(safetensors)} .safetensors files and no model.safetensors.index.json"
        message = f"{shown(folder)}: has {found}; fetch the index, or name one file"
        raise CheckpointError(message)
    if "pytorch_model.bin" in names:
        return WeightFiles("legacy", (inside(folder, "pytorch_model.bin"),))
    for index in _indexes(names, "pytorch_model.bin.index.json", ".bin.index.json"):
        return _sharded(folder, index, "legacy")
    if any(name.endswith(".gguf") for name in names):
        message = (
            f"{shown(folder)}: holds GGUF files, which are quantised; name the unquantised model they were made from"
        )
        raise CheckpointError(message)
    message = f"{shown(folder)}: has no model.safetensors, no index and no pytorch_model.bin; name a model folder"
    raise CheckpointError(message)


def _adapter(folder: Path, names: frozenset[str]) -> WeightFiles:
    if "adapter_model.safetensors" in names:
        return WeightFiles("safetensors", (inside(folder, "adapter_model.safetensors"),), adapter=True)
    if "adapter_model.bin" in names:
        return WeightFiles("legacy", (inside(folder, "adapter_model.bin"),), adapter=True)
    message = f"{shown(folder)}: has {CONFIG_NAME} but no adapter_model.safetensors; fetch the adapter again"
    raise CheckpointError(message)


def read_config(folder: Path) -> Mapping[str, object]:
    """Read the folder's ``config.json``; empty when there is none."""
    return read_settings(folder, "config.json")


def read_settings(folder: Path, name: str) -> Mapping[str, object]:
    """Read one of a folder's JSON files; empty when there is none.

    Raises
    ------
    CheckpointError
        When it is not readable, leads out of the folder, or is no JSON object.
    """
    if name not in _names(folder):
        return {}
    return read_object(inside(folder, name), "text", MAX_CONFIG, strict=False)


def is_alone(file: Path) -> bool:
    """Whether a .safetensors file is the only one in its folder, so that a config beside it belongs to it."""
    return [name for name in _names(file.parent) if name.endswith(".safetensors")] == [file.name]


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from error


def _indexes(names: frozenset[str], usual: str, ending: str) -> list[str]:
    """Return the usual index, or else the only one of another name."""
    if usual in names:
        return [usual]
    others = [name for name in names if name.endswith(ending)]
    return others if len(others) == 1 else []


def _sharded(folder: Path, index_name: str, kind: Literal["safetensors", "legacy"]) -> WeightFiles:
    index = inside(folder, index_name)
    listed = read_object(index, "text", MAX_INDEX).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        message = f"{shown(index)}: has no weight_map from tensor names to files; fetch it again"
        raise CheckpointError(message)
    shards: dict[str, Path] = {}
    for tensor, name in listed.items():
        if not isinstance(name, str):
            message = f"{shown(index)}: gives {shown(repr(name))} as the file of {shown(tensor)}; fetch it again"
            raise CheckpointError(message)
        if name not in shards:
            shards[name] = _shard(folder, index, tensor, name)
    weight_map = {tensor: shards[name] for tensor, name in listed.items()}
    return WeightFiles(kind, tuple(shards[name] for name in sorted(shards)), index, weight_map)


def _shard(folder: Path, index: Path, tensor: str, name: str) -> Path:
    path = inside(folder, name)
    try:
        exists = path.exists()
    except OSError as error:
        raise unreadable(path, error) from error
    if not exists:
        message = f"{shown(index)}: names {shown(name)} for {shown(tensor)}, and that file is missing; fetch it"
        raise CheckpointError(message)
    return path
