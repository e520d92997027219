"""Answers that a model writes itself, greedily, by transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from globa_tui.jobs.evaluation.data import Question
from globa_tui.jobs.evaluation.scoring import Tick
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.evaluation.tokens import encode

_TAIL = 24
"""Tokens at the end of an answer in which a stop is looked for."""


def is_right(written: str, question: Question) -> bool:
    """Whether a written answer is the right one, blanks around it aside."""
    return written.strip() == question.answer.strip()


def cut_at_stop(written: str, stops: Sequence[str]) -> str:
    """The text before the first stop in it."""
    ends = [place for place in (written.find(stop) for stop in stops) if place >= 0]
    return written[: min(ends)] if ends else written


def generated_answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    settings: EvaluationSettings,
    device: torch.device,
    tick: Tick = lambda share: None,
) -> list[str]:
    """What the model writes after every prompt, up to a stop, the end of text, or `max_new_tokens`."""
    prompts = [encode(tokenizer, question.prompt)[-settings.window :] for question in questions]
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
    answers = [""] * len(prompts)
    before = 0.0
    while order:
        longest = len(prompts[order[0]])
        size = max(1, settings.batch_tokens // (longest + settings.max_new_tokens))
        places, order = order[:size], order[size:]
        tick(before)
        chosen = [questions[place] for place in places]
        written = _generate(model, tokenizer, [prompts[place] for place in places], chosen, settings, device)
        for place, text in zip(places, written, strict=True):
            answers[place] = text
        before = len(places) / len(prompts)
    tick(before)
    return answers


def _generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    questions: Sequence[Question],
    settings: EvaluationSettings,
    device: torch.device,
) -> list[str]:
    from transformers import GenerationConfig

    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
    ids = torch.full((len(prompts), longest), pad)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    mask = (torch.arange(longest) >= longest - lengths[:, None]).long()
    ends = getattr(model.generation_config, "eos_token_id", None) or tokenizer.eos_token_id
    # The model's own settings may sample, or punish repetition: that would not be the greedy answer.
    make: Any = GenerationConfig
    model.generation_config = make(
        do_sample=False, max_new_tokens=settings.max_new_tokens, pad_token_id=pad, eos_token_id=ends
    )
    with torch.inference_mode():
        written = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), stopping_criteria=[_AtStops(tokenizer, questions)]
        )
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in written[:, longest:].tolist()]
    return [cut_at_stop(text, question.stop) for text, question in zip(texts, questions, strict=True)]


class _AtStops:
    """Tells `generate` which answers have reached one of their stops."""

    def __init__(self, tokenizer: Any, questions: Sequence[Question]) -> None:
        self._tokenizer, self._questions = tokenizer, questions
        self._begin: int | None = None

    def __call__(self, ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        del scores, kwargs
        begin = self._begin = ids.shape[1] - 1 if self._begin is None else self._begin
        tails = [self._tokenizer.decode(row) for row in ids[:, max(begin, ids.shape[1] - _TAIL) :].tolist()]
        ended = [any(s in tail for s in q.stop) for tail, q in zip(tails, self._questions, strict=True)]
        return torch.tensor(ended, device=ids.device)
