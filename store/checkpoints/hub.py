"""Models of the Hugging Face Hub: from the local cache, downloaded only when asked to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from store.checkpoints.folder import find_weights
from store.checkpoints.text import shown
from store.errors import CheckpointError

_ID = re.compile(r"(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_TIMEOUT = 20.0
"""Seconds to wait for the list of files."""
_SIDECARS = (
    "*.json",
    "tokenizer*.model",
    "spiece.model",
    "sentencepiece*.model",
    "*.tiktoken",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)


def hub_id(source: str) -> tuple[str, str | None] | None:
    """Split ``org/name[@revision]``; None when the text cannot be a Hub id."""
    match = _ID.fullmatch(source)
    if match is None or source.startswith((".", "-")) or ".." in source or "--" in source.partition("@")[0]:
        return None
    return match["repo"], match["revision"]


def fetch(source: str, *, download: bool) -> Path:
    """Return the folder that holds a Hub model, looking into the local cache first.

    Parameters
    ----------
    source : str
        ``org/name`` or ``org/name@revision``.
    download : bool
        Whether the network may be used when the cache does not hold the weights.

    Raises
    ------
    CheckpointError
        When the model is not cached and may not, or cannot, be downloaded.
    """
    named = hub_id(source)
    if named is None:
        message = f"{shown(source)}: no such file or folder, and not a Hub id like org/name; check the path"
        raise CheckpointError(message)
    repo, revision = named
    cached = _cached(repo, revision)
    if cached is not None and _is_whole(cached):
        return cached
    if not download:
        state = "is in the local Hub cache without its weights" if cached else "is neither here nor in the Hub cache"
        message = f"{shown(source)}: {state}; check the path, or run: hf download {repo}"
        raise CheckpointError(message + (f" --revision {revision}" if revision else ""))
    return _download(source, repo, revision)


def wanted_files(names: Iterable[str]) -> list[str]:
    """Choose what to download: weights in one format, configs and tokenizer; never code, nothing below subfolders.

    Parameters
    ----------
    names : iterable of str
        All files of the repository.
    """
    top = sorted(name for name in names if "/" not in name and not any(c in name for c in "*?["))
    safetensors = [name for name in top if name.endswith(".safetensors")]
    if "model.safetensors" in safetensors:
        weights = ["model.safetensors"]
    elif "model.safetensors.index.json" in top:
        weights = [name for name in safetensors if fnmatchcase(name, "model*-of-*.safetensors")] or safetensors
    else:
        bins = [name for name in top if fnmatchcase(name, "pytorch_model*.bin")]
        weights = safetensors or bins or [name for name in top if name == "adapter_model.bin"]
    unwanted = ".bin.index.json" if safetensors else ".safetensors.index.json"
    others = [name for name in top if any(fnmatchcase(name, pattern) for pattern in _SIDECARS)]
    return weights + [name for name in others if not name.endswith(unwanted)]


def _is_whole(folder: Path) -> bool:
    try:
        find_weights(folder)
    except CheckpointError:
        return False
    return True


def _cached(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _failed(repo, error) from error


def _download(source: str, repo: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    # The library raises its own errors and those of whichever HTTP client it was built with.
    try:
        # Listing the tree would retry for half a minute without a network; this asks once.
        offered = HfApi().model_info(repo, revision=revision, timeout=_TIMEOUT).siblings or []
        names = wanted_files(file.rfilename for file in offered)
        return Path(snapshot_download(repo, revision=revision, allow_patterns=names))
    except Exception as error:
        raise _failed(source, error) from error


def _failed(source: str, error: Exception) -> CheckpointError:
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return CheckpointError(f"{shown(source)}: cannot be fetched from the Hub ({shown(reason)}); check name and network")
