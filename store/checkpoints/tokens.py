"""The vocabulary of a checkpoint's tokenizer: which token has which row of the embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from store.checkpoints.files import inside, read_small
from store.checkpoints.folder import is_alone
from store.checkpoints.json_text import read_object
from store.checkpoints.model import Checkpoint

LIMIT = 500_000_000
_FILES = ("tokenizer.json", "vocab.json", "added_tokens.json", "vocab.txt")


def tokenizer_digest(checkpoint: Checkpoint) -> str | None:
    """Hash of the files that make the vocabulary; None when there are none."""
    found = _files(checkpoint)
    if not found:
        return None
    digest = hashlib.sha256()
    for name, path in found.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(read_small(path, LIMIT)).digest())
    return digest.hexdigest()


def read_tokens(checkpoint: Checkpoint) -> dict[str, int] | None:
    """Read the tokens and their rows; None when no file says it in a form that is known here.

    ``tokenizer.json`` goes first, then ``vocab.json`` or ``vocab.txt``; ``added_tokens.json`` adds to the latter two.

    Raises
    ------
    CheckpointError
        When one of them is damaged.
    """
    files = _files(checkpoint)
    if "tokenizer.json" in files:
        tokens = _from_tokenizer(read_object(files["tokenizer.json"], "text", LIMIT, strict=False))
        if tokens:
            return tokens
    tokens = {}
    if "vocab.json" in files:
        tokens = _numbers(read_object(files["vocab.json"], "text", LIMIT, strict=False))
    elif "vocab.txt" in files:
        lines = read_small(files["vocab.txt"], LIMIT).decode("utf-8", "replace").split("\n")
        tokens = {line.rstrip("\r"): row for row, line in enumerate(lines) if line.strip("\r")}
    if tokens and "added_tokens.json" in files:
        tokens |= _numbers(read_object(files["added_tokens.json"], "text", LIMIT, strict=False))
    return tokens or None


def added_tokens(checkpoint: Checkpoint) -> dict[str, dict[str, object]]:
    """Entries of ``added_tokens`` in a checkpoint's ``tokenizer.json``, by token."""
    path = _files(checkpoint).get("tokenizer.json")
    entries = read_object(path, "text", LIMIT, strict=False).get("added_tokens") if path else None
    found = entries if isinstance(entries, list) else []
    return {str(entry["content"]): entry for entry in found if isinstance(entry, dict) and "content" in entry}


def _files(checkpoint: Checkpoint) -> dict[str, Path]:
    if checkpoint.path.is_file() and not is_alone(checkpoint.path):
        return {}
    folder = checkpoint.folder
    if not folder.is_dir():
        return {}
    return {name: inside(folder, name) for name in _FILES if (folder / name).is_file()}


def _from_tokenizer(values: dict[str, object]) -> dict[str, int]:
    model = values.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    tokens: dict[str, int] = {}
    if isinstance(vocabulary, dict):
        tokens = _numbers(vocabulary)
    elif isinstance(vocabulary, list):
        tokens = {str(entry[0]): row for row, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    entries = values.get("added_tokens")
    return tokens | dict(_added(entries if isinstance(entries, list) else []))


def _added(entries: list[object]) -> Iterator[tuple[str, int]]:
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("content"), str) and _is_row(entry.get("id")):
            yield entry["content"], entry["id"]


def _numbers(values: dict[str, object]) -> dict[str, int]:
    return {token: row for token, row in values.items() if isinstance(row, int) and _is_row(row)}


def _is_row(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31
