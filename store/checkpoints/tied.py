"""Tensors that are one and the same in the model: output and input embeddings, or shared bytes."""

from __future__ import annotations

from collections.abc import Mapping

from store.checkpoints.model import Checkpoint, TensorHeader
from store.checkpoints.names import kind_of

_INPUT_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "shared", "tok_embeddings", "embed_in")


def says_tied(config: Mapping[str, object]) -> bool | None:
    """Return what a config says about ``tie_word_embeddings``; None when it says nothing."""
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping) and isinstance(part.get("tie_word_embeddings"), bool):
            return bool(part["tie_word_embeddings"])
    return None


def is_output_embedding(name: str) -> bool:
    """Whether a tensor is the weight that turns hidden states into token scores."""
    return name.endswith(".weight") and kind_of(name) == "lm_head"


def is_input_embedding(name: str) -> bool:
    """Whether a tensor is the weight that turns tokens into hidden states."""
    module, _, attribute = name.rpartition(".")
    return attribute == "weight" and module.rpartition(".")[2] in _INPUT_EMBEDDINGS


def input_embedding(
    tensors: Mapping[str, TensorHeader], shape: tuple[int, ...], *, any_rows: bool = False
) -> str | None:
    """Return the name of the token embeddings of that shape, or with ``any_rows`` of that width; None without any."""
    for module in _INPUT_EMBEDDINGS:
        for name, header in tensors.items():
            if not is_input_embedding(name) or name.split(".")[-2] != module:
                continue
            if header.shape == shape or (any_rows and len(header.shape) == 2 and header.shape[1:] == shape[1:]):
                return name
    return None


def find_ties(checkpoint: Checkpoint) -> dict[str, str]:
    """Map every tensor that repeats another to that other.

    A tensor repeats another when both lie on the same bytes (legacy files), or when it is the output embedding and the
    config says ``tie_word_embeddings``.
    """
    ties: dict[str, str] = {}
    places: dict[tuple[object, ...], list[str]] = {}
    for name, header in checkpoint.tensors.items():
        if header.nbytes:
            places.setdefault((header.file, header.offset, header.dtype, header.shape), []).append(name)
    for names in places.values():
        # An output embedding repeats the input embedding, whichever comes first.
        original = next((name for name in names if not is_output_embedding(name)), names[0])
        ties.update((name, original) for name in names if name != original)
    if says_tied(checkpoint.config):
        for name in filter(is_output_embedding, checkpoint.tensors):
            source = input_embedding(checkpoint.tensors, checkpoint.tensors[name].shape)
            if source is not None and name not in ties:
                ties[name] = source
    return ties
