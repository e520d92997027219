"""Hidden states of one model on texts: after every layer, at the last token and averaged over all tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from globa_tui.diagnostics import printable
from globa_tui.jobs.loaded_model import ModelError


@dataclass(frozen=True)
class States:
    """Hidden states of one model."""

    last: torch.Tensor
    """Inputs × layers × width, float32, at the last token. Layer 0 is the embeddings, the last what the head reads."""
    mean: torch.Tensor
    """The same, averaged over the tokens of the input."""
    layers: tuple[int, ...]
    """Which layers: all, but for those of another width than the last."""


def token_ids(tokenizer: Any, texts: Sequence[str], most: int, model_name: str) -> list[list[int]]:
    """Tokenise every text on its own, with the special tokens that the tokenizer adds; cut at `most` tokens."""
    found: list[list[int]] = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=most, verbose=False)["input_ids"]
        if not ids:
            msg = f"{model_name}: its tokenizer makes no tokens of {printable(text[:60])!r}; leave that text out"
            raise ModelError(msg)
        found.append([int(one) for one in ids[:most]])
    return found


def tokens_hash(ids: Sequence[Sequence[int]]) -> str:
    """Tells apart how two tokenizers cut the same texts."""
    return hashlib.sha256(json.dumps([list(one) for one in ids]).encode()).hexdigest()


def run_model(
    model: Any,
    ids: Sequence[Sequence[int]],
    batch: int,
    *,
    last_only: bool,
    pad: int,
    batch_ended: Callable[[int], None],
) -> States:
    """Run a model on tokenised inputs.

    Parameters
    ----------
    model
        From `load`.
    ids
        Tokens of every input.
    batch
        Inputs that run together; more is faster and takes more memory. Shorter ones are padded on the right and masked.
    last_only
        Keep the last layer only.
    pad
        Token for padding.
    batch_ended
        Called with the number of inputs that were run.

    Raises
    ------
    ModelError
        A state is not finite, or memory ran out.
    """
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    layers: tuple[int, ...] = ()
    device = next(model.parameters()).device
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        lengths = torch.tensor([len(one) for one in part], device=device)
        longest = int(lengths.max())
        rows = torch.tensor([[*one, *[pad] * (longest - len(one))] for one in part], device=device)
        mask = torch.arange(longest, device=device)[None, :] < lengths[:, None]
        states = _forward(model, rows, mask.long())
        layers = _same_width(states, last_only)
        kept.append(_pooled([states[layer] for layer in layers], mask, lengths))
        batch_ended(len(part))
    last, mean = (torch.cat([pair[which] for pair in kept]) for which in (0, 1))
    if not bool(torch.isfinite(last).all() and torch.isfinite(mean).all()):
        msg = "its hidden states are NaN or infinite; try --dtype bfloat16 or float32, and look at its weights"
        raise ModelError(msg)
    return States(last, mean, layers)


def _forward(model: Any, rows: torch.Tensor, mask: torch.Tensor) -> Sequence[torch.Tensor]:
    try:
        with torch.inference_mode():
            found = model(input_ids=rows, attention_mask=mask, output_hidden_states=True, return_dict=True)
    except torch.OutOfMemoryError as error:
        msg = f"memory ran out on a batch of {len(rows)} inputs of {rows.shape[1]} tokens; lower --batch-size"
        raise ModelError(msg) from error
    states = getattr(found, "hidden_states", None)
    if not states:
        msg = "it gives no hidden states; only models of text that transformers runs are supported"
        raise ModelError(msg)
    return list(states)


def _same_width(states: Sequence[torch.Tensor], last_only: bool) -> tuple[int, ...]:
    width = states[-1].shape[-1]
    found = tuple(layer for layer, state in enumerate(states) if state.shape[-1] == width)
    return found[-1:] if last_only else found


def _pooled(
    states: Sequence[torch.Tensor], mask: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every layer the state of the last token, and the mean over the tokens: inputs × layers × width."""
    rows = torch.arange(len(lengths), device=mask.device)
    last = torch.stack([state[rows, lengths - 1].float() for state in states], dim=1)
    weight = mask[:, :, None].float()
    mean = torch.stack([(state.float() * weight).sum(dim=1) / lengths[:, None] for state in states], dim=1)
    return last.cpu(), mean.cpu()
