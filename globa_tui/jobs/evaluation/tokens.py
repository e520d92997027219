"""From texts and questions to the token sequences that a model reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from globa_tui.jobs.evaluation.scoring import Scored


def encode(tokenizer: Any, text: str, *, special: bool = True) -> list[int]:
    """Ids of a text, with what the tokenizer puts before it, without what it puts after it."""
    ids: list[int] = tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    while len(ids) > 1 and special and ids[-1] in tokenizer.all_special_ids:
        ids = ids[:-1]
    return list(ids)


def continuation(tokenizer: Any, prompt: str, answer: str, window: int, *, end: int | None = None) -> Scored:
    """A prompt and its answer, of which the answer is scored; at most the last `window` tokens.

    Both are encoded together, as they would be read; apart where their border is not one between tokens. `end` is a
    token that has to follow.
    """
    before = encode(tokenizer, prompt)
    both = encode(tokenizer, prompt + answer)
    if both[: len(before)] != before or len(both) == len(before):
        both = before + encode(tokenizer, answer, special=False)
    both += [] if end is None else [end]
    cut = max(0, len(both) - window)
    return Scored(tuple(both[cut:]), max(1, len(before) - cut))


def windows(tokenizer: Any, text: str, window: int) -> list[tuple[Scored, int]]:
    """A text in windows, and how many of its bytes the scored tokens of each stand for.

    Every token is scored once. What the tokenizer puts first, such as a beginning-of-text token, starts every window;
    without one a window starts with the last token of the window before, and the very first token is not scored.
    """
    ids = encode(tokenizer, text)
    lead = 0
    while lead < len(ids) and ids[lead] in tokenizer.all_special_ids:
        lead += 1
    start, body = ids[:lead], ids[lead:]
    ends = _byte_ends(tokenizer, text, body)
    found = []
    kept, step = (start, window - lead) if lead else ([], window - 1)
    place = 0 if lead else 1
    while place < len(body):
        stop = min(place + step, len(body))
        before = kept or [body[place - 1]]
        size = ends[stop - 1] - (ends[place - 1] if place else 0)
        found.append((Scored((*before, *body[place:stop]), len(before)), int(size)))
        place = stop
    return found


def _byte_ends(tokenizer: Any, text: str, body: list[int]) -> NDArray[np.int64]:
    """Bytes of the text up to the end of every token; in equal parts where the tokenizer does not tell."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    sizes = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    upto = np.concatenate([[0], np.cumsum(sizes)])
    if getattr(tokenizer, "is_fast", False):
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        if len(encoded["input_ids"]) == len(body):
            ends = np.array([end for _, end in encoded["offset_mapping"]], dtype=np.int64)
            places: NDArray[np.int64] = upto[ends]
            if len(places):
                places[-1] = upto[-1]
            return places
    equal: NDArray[np.int64] = np.round(np.arange(1, len(body) + 1) * (upto[-1] / max(1, len(body)))).astype(np.int64)
    return equal
