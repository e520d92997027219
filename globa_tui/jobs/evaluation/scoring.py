"""What every token of given sequences costs a model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Tick = Callable[[float], None]
"""Called before each batch with the share of the work that was done since the last call."""

_ROWS = 2048
"""Positions whose logits are widened at a time: a vocabulary of 150,000 makes 1.2 GB of them in float32."""


@dataclass(frozen=True)
class Scored:
    """One sequence to read; its tokens from `first` on are scored, each given all before it."""

    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class _Batch:
    places: tuple[int, ...]
    ids: Tensor
    mask: Tensor | None
    start: int
    """First position whose prediction is needed."""


@dataclass(frozen=True)
class Costs:
    """Of the scored tokens of one sequence: nats each costs, and whether it was the likeliest one."""

    nats: Tensor
    likeliest: Tensor


class Batches:
    """Sequences in batches of about equal length, made once and read by any number of models.

    Parameters
    ----------
    sequences
        What to read.
    device
        Where the models are.
    batch_tokens
        Most tokens in a batch, unless one sequence has more.
    """

    def __init__(self, sequences: Sequence[Scored], device: torch.device, batch_tokens: int) -> None:
        self.sequences = list(sequences)
        order = sorted(range(len(self.sequences)), key=lambda place: -len(self.sequences[place].ids))
        self._batches: list[_Batch] = []
        while order:
            longest = len(self.sequences[order[0]].ids)
            size = max(1, batch_tokens // longest)
            self._batches.append(self._batch(order[:size], longest, device))
            del order[:size]

    def _batch(self, places: Sequence[int], longest: int, device: torch.device) -> _Batch:
        chosen = [self.sequences[place] for place in places]
        ids = torch.zeros(len(chosen), longest, dtype=torch.long)
        for row, sequence in enumerate(chosen):
            ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        lengths = torch.tensor([len(sequence.ids) for sequence in chosen])
        mask = None
        if int(lengths.min()) < longest:
            mask = (torch.arange(longest) < lengths[:, None]).long().to(device)
        return _Batch(tuple(places), ids.to(device), mask, min(s.first for s in chosen) - 1)

    def costs(self, model: Any, tick: Tick = lambda share: None) -> list[Costs]:
        """What every sequence costs a model, in the order in which they were given."""
        found: dict[int, Costs] = {}
        total = sum(batch.ids.numel() for batch in self._batches)
        before = 0.0
        with torch.inference_mode():
            for batch in self._batches:
                tick(before)
                nats, likeliest = _read(model, batch)
                for row, place in enumerate(batch.places):
                    sequence = self.sequences[place]
                    scored = slice(sequence.first - 1 - batch.start, len(sequence.ids) - 1 - batch.start)
                    found[place] = Costs(nats[row, scored].double(), likeliest[row, scored])
                before = batch.ids.numel() / total
        tick(before)
        return [found[place] for place in range(len(self.sequences))]


def _read(model: Any, batch: _Batch) -> tuple[Tensor, Tensor]:
    """Nats and hits of every target of a batch from its `start` on, on the CPU."""
    mask = {} if batch.mask is None else {"attention_mask": batch.mask}
    logits = model(input_ids=batch.ids, use_cache=False, **mask).logits[:, batch.start : -1]
    targets = batch.ids[:, batch.start + 1 :]
    rows, flat = logits.flatten(0, 1), targets.flatten()
    nats, likeliest = [], []
    for part, wanted in zip(torch.split(rows, _ROWS), torch.split(flat, _ROWS), strict=True):
        wide = part.float()
        nats.append(torch.nn.functional.cross_entropy(wide, wanted, reduction="none"))
        likeliest.append(wide.argmax(-1) == wanted)
    return torch.cat(nats).view_as(targets).cpu(), torch.cat(likeliest).view_as(targets).cpu()
