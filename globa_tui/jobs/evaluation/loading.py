"""Loading a model to measure it, and the hash that tells it from every other."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from globa_tui.jobs.loadable import require_loadable
from store.checkpoints import open_checkpoint
from store.checkpoints.dtypes import BITS
from store.checkpoints.files import inside
from store.errors import CheckpointError

_DECIDING = (".safetensors", ".json", ".jinja", ".model", ".txt", ".py")
"""Endings of the files in a model folder that decide what the model says."""


@dataclass(frozen=True)
class ModelFolder:
    """A model that can be loaded."""

    source: str
    """As it was named."""
    path: Path


def find_model(source: str, *, download: bool = False) -> ModelFolder:
    """The folder of a model, from the local cache or the Hub.

    Raises
    ------
    CheckpointError
        When it is not a folder of a whole model in safetensors.
    """
    found = open_checkpoint(source, download=download)
    if found.adapter or not found.path.is_dir() or found.format == "legacy":
        msg = f"{source}: not a folder of a whole model in safetensors; merge it into one first, then evaluate that"
        raise CheckpointError(msg)
    return ModelFolder(source, found.path)


def model_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of all files that decide what a model says.

    A card, a recipe, or another place leave it as it is. Reads every weight once: about a second per gigabyte.
    """
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _DECIDING and path.is_file()):
        with inside(folder, path.name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        whole.update(f"{path.name}\0{digest.hexdigest()}\n".encode())
    return whole.hexdigest()


def loaded_bytes(folder: ModelFolder, dtype: torch.dtype | str) -> int:
    """Bytes that a model's weights take when it is loaded."""
    bits = torch.finfo(dtype).bits if isinstance(dtype, torch.dtype) else None
    headers = open_checkpoint(str(folder.path)).tensors.values()
    return sum(math.prod(header.shape) * (bits or BITS[header.dtype]) // 8 for header in headers)


def torch_dtype(name: str, device: torch.device) -> torch.dtype | str:
    """The type to hold weights in: ``auto`` is the model's own on a GPU and float32 on a CPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def load_model(
    folder: ModelFolder, device: torch.device, dtype: torch.dtype | str, *, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """A model, ready to be measured, and its tokenizer.

    Raises
    ------
    CheckpointError
        When transformers cannot load it, or its files lack weights, which would be random.
    """
    import transformers

    require_loadable(folder.path, trust_remote_code=trust_remote_code)
    # Their loaders take and give too many things to be typed.
    models: Any = transformers.AutoModelForCausalLM
    tokenizers: Any = transformers.AutoTokenizer
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with quiet_transformers():
        try:
            model, info = models.from_pretrained(
                folder.path, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
            )
            tokenizer = tokenizers.from_pretrained(folder.path, **options)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            msg = f"{folder.path}: transformers cannot load it: {reason}"
            raise CheckpointError(msg) from error
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        msg = f"{folder.path}: its files lack {len(missing)} weights that the model needs (first: {missing[0]})"
        raise CheckpointError(msg)
    return model.to(device).eval(), tokenizer


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within the block transformers shows no bars and says errors only: stderr is ours."""
    from transformers.utils import logging as transformers_logging

    talk: Any = transformers_logging
    bars, level = talk.is_progress_bar_enabled(), talk.get_verbosity()
    talk.disable_progress_bar()
    talk.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()
