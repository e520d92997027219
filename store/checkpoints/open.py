"""Opening a checkpoint, whatever way it was named."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from store.checkpoints.adapter import adapter_tensors
from store.checkpoints.adapter_config import CONFIG_NAME, read_adapter_config
from store.checkpoints.files import inside, open_regular, unreadable
from store.checkpoints.folder import WeightFiles, find_weights, is_alone, read_config
from store.checkpoints.headers import read_header
from store.checkpoints.hub import fetch
from store.checkpoints.legacy import read_legacy
from store.checkpoints.model import Checkpoint, SourceFile, TensorHeader
from store.checkpoints.text import shown
from store.errors import CheckpointError


def open_checkpoint(source: str, *, download: bool = False) -> Checkpoint:
    """Index a checkpoint: its tensors, files and config, without reading any value.

    Parameters
    ----------
    source : str
        A model folder (``model.safetensors``, or an index with its shards, or legacy ``pytorch_model*.bin``), one
        ``.safetensors`` file, a PEFT LoRA adapter folder, or a Hub id ``org/name[@revision]``.
    download : bool
        Whether a Hub model that the local cache does not hold may be fetched.

    Raises
    ------
    CheckpointError
        When the source is missing, damaged or hostile; the message is one line with a cure.
    """
    path = Path(source)
    try:
        path = path.expanduser()
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise unreadable(path, error) from error
    if not exists or not source:
        path, is_folder = fetch(source, download=download), True
    return _open_folder(source, path) if is_folder else _open_file(source, path)


def _open_folder(source: str, folder: Path) -> Checkpoint:
    weights = find_weights(folder)
    settings = read_adapter_config(folder) if weights.adapter else None
    listed = read_legacy(weights.files) if weights.format == "legacy" else [read_header(path) for path in weights.files]
    tensors = _collect(tensor for found, _ in listed for tensor in found)
    files = [file for _, file in listed]
    if settings is not None:
        files.append(_settings_file(folder))
        found = adapter_tensors(tensors.values(), settings, folder)
        whole = _checkpoint(source, folder, weights.format, dict(found.tensors), files, read_config(folder))
        return dataclasses.replace(whole, adapter=True, low_rank=found.low_rank)
    _check_index(weights, tensors)
    return _checkpoint(source, folder, weights.format, tensors, files, read_config(folder))


def _settings_file(folder: Path) -> SourceFile:
    """Identity of the adapter's settings: another alpha makes another model of the same factors."""
    path = inside(folder, CONFIG_NAME)
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        return SourceFile(path, status.st_size, status.st_mtime_ns, hashlib.sha256(file.readall()).hexdigest())


def _open_file(source: str, path: Path) -> Checkpoint:
    if path.suffix != ".safetensors":
        message = f"{shown(path)}: {_why_not(path)}"
        raise CheckpointError(message)
    found, file = read_header(path)
    config = read_config(path.parent) if is_alone(path) else {}
    return _checkpoint(source, path, "safetensors", _collect(found), [file], config)


def _why_not(path: Path) -> str:
    if path.suffix == ".gguf":
        return "is a GGUF file, which is quantised; name the unquantised model it was made from"
    cure = f"name its folder, {shown(path.parent)}" if path.suffix == ".bin" else "name one, or a model folder"
    return f"is not a .safetensors file; {cure}"


def _checkpoint(
    source: str,
    path: Path,
    kind: Literal["safetensors", "legacy"],
    tensors: dict[str, TensorHeader],
    files: list[SourceFile],
    config: Mapping[str, object],
) -> Checkpoint:
    if not tensors:
        message = f"{shown(path)}: holds no tensors; name another checkpoint"
        raise CheckpointError(message)
    return Checkpoint(source, path, kind, tensors, tuple(files), config)


def _collect(tensors: Iterable[TensorHeader]) -> dict[str, TensorHeader]:
    found: dict[str, TensorHeader] = {}
    for tensor in tensors:
        first = found.setdefault(tensor.name, tensor)
        if first is not tensor:
            files = f"{shown(first.file)} and {shown(tensor.file)}"
            message = f"{shown(tensor.name)}: is in two files, {files}; remove the one that does not belong"
            raise CheckpointError(message)
    return found


def _check_index(weights: WeightFiles, tensors: dict[str, TensorHeader]) -> None:
    for name, path in weights.weight_map.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.file != path:
            where = f"it is in {shown(tensor.file.name)}" if tensor else "no file has it"
            says = f"says that {shown(name)} is in {shown(path.name)}, but {where}"
            message = f"{shown(weights.index)}: {says}; fetch index and files again"
            raise CheckpointError(message)
