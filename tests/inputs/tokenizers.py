"""Tokenizers for tests: tokenizer.json in the form of a byte-pair encoder without merges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.store.make import single


def tokenizer(folder: Path, tokens: Sequence[str], added: Sequence[str] = ()) -> Path:
    """Write tokenizer files: `tokens` are the vocabulary proper, `added` follow as added tokens."""
    vocabulary = {token: row for row, token in enumerate(tokens)}
    entries = [
        {"id": len(tokens) + n, "content": token, "special": True, "normalized": False, "single_word": False}
        for n, token in enumerate(added)
    ]
    model = {"type": "BPE", "vocab": vocabulary, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": entries, "model": model}))
    decoder = {str(entry["id"]): {"content": entry["content"], "special": True} for entry in entries}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    return folder


def model(
    folder: Path, rows: torch.Tensor, tokens: Sequence[str] | None, added: Sequence[str] = (), *, tied: bool = False
) -> Path:
    """A model of nothing but token tables and one matrix; every row of the tables tells its token."""
    tensors = {"model.embed_tokens.weight": rows, "model.layers.0.mlp.up_proj.weight": torch.eye(rows.shape[1])}
    if not tied:
        tensors["lm_head.weight"] = rows + 100.0
    config = {"vocab_size": len(rows), "tie_word_embeddings": tied, "eos_token_id": len(rows) - 1}
    single(folder, tensors, config)
    return folder if tokens is None else tokenizer(folder, tokens, added)


def rows_of(tokens: Sequence[str], move: float = 0.0, width: int = 4) -> torch.Tensor:
    """Rows that only the token decides, plus `move`."""
    return (
        torch.stack([torch.full((width,), float(sum(map(ord, token)))) + torch.arange(width) for token in tokens])
        + move
    )
