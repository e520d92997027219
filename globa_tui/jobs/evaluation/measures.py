"""Measuring one loaded model on one file: sums per window or question, and the metrics they make."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from analysis.bootstrap import bootstrap_ratio
from globa_tui.jobs.evaluation.data import DataSet
from globa_tui.jobs.evaluation.generation import generated_answers, is_right
from globa_tui.jobs.evaluation.metrics import Metric
from globa_tui.jobs.evaluation.scoring import Batches, Costs, Scored, Tick
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.evaluation.tokens import continuation, windows


@dataclass(frozen=True)
class Sums:
    """A metric as a ratio of sums over items; `exp` takes the exponential of the ratio."""

    numerators: Tensor
    denominators: Tensor
    form: Literal["ratio", "exp"] = "ratio"

    @property
    def value(self) -> float | None:
        """The metric; None where it is not finite."""
        return _finite(self._formed(float(self.numerators.sum() / self.denominators.sum())))

    def metric(self, name: str, settings: EvaluationSettings) -> Metric:
        """The metric with its confidence interval."""
        draws = torch.Generator().manual_seed(settings.seed)
        found = bootstrap_ratio(
            self.numerators, self.denominators, draws, resamples=settings.resamples, level=settings.level
        )
        value, low, high = (_finite(self._formed(end)) for end in (found.value, found.low, found.high))
        return Metric(name, value, low, high, self.numerators.shape[0])

    def _formed(self, ratio: float) -> float:
        if self.form == "ratio" or math.isnan(ratio):
            return ratio
        return math.exp(ratio) if ratio < 700 else math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Measure:
    """One file, tokenized once, on which any number of models with that tokenizer can be measured."""

    def __init__(self, data: DataSet, tokenizer: Any, settings: EvaluationSettings, device: torch.device) -> None:
        self.data, self._tokenizer, self._settings, self._device = data, tokenizer, settings, device
        self._questions = data.questions[: settings.limit]
        self._window = settings.window
        self._sizes: list[int] = []
        """Bytes of what is scored, sequence by sequence."""
        sequences = self._windows() if data.kind == "text" else self._continuations()
        self._batches = Batches(sequences, device, settings.batch_tokens)

    def _windows(self) -> list[Scored]:
        found = [pair for text in self.data.texts for pair in windows(self._tokenizer, text, self._window)]
        found = found[: self._settings.limit]
        self._sizes = [size for _, size in found]
        return [sequence for sequence, _ in found]

    def _continuations(self) -> list[Scored]:
        sequences = []
        for question in self._questions:
            for text in question.choices or (question.answer + "".join(question.stop[:1]),):
                end = None if question.choices or question.stop else self._tokenizer.eos_token_id
                sequences.append(continuation(self._tokenizer, question.prompt, text, self._window, end=end))
                self._sizes.append(len(text.encode()))
        return sequences

    def sums(self, model: Any, tick: Tick = lambda share: None) -> dict[str, Sums]:
        """Everything one pass over the file tells, without generating."""
        costs = self._batches.costs(model, tick)
        if self.data.kind == "text":
            return self._of_text(costs)
        return self._of_choices(costs) if self.data.kind == "choice" else self._of_answers(costs)

    def generated(self, model: Any, tick: Tick = lambda share: None) -> dict[str, Sums]:
        """What the model writes itself, against the right answers; nothing for texts and choices."""
        if self.data.kind != "answer":
            return {}
        answers = generated_answers(model, self._tokenizer, self._questions, self._settings, self._device, tick)
        right = [is_right(answer, question) for answer, question in zip(answers, self._questions, strict=True)]
        return {"exact_match": _mean(right)}

    def _of_text(self, costs: list[Costs]) -> dict[str, Sums]:
        nats = _stack([cost.nats.sum() for cost in costs])
        tokens = _stack([float(cost.nats.shape[0]) for cost in costs])
        hits = _stack([float(cost.likeliest.sum()) for cost in costs])
        return {
            "bits_per_byte": Sums(nats / math.log(2), _stack(self._sizes)),
            "perplexity": Sums(nats, tokens, "exp"),
            "token_accuracy": Sums(hits, tokens),
        }

    def _of_answers(self, costs: list[Costs]) -> dict[str, Sums]:
        bits = _stack([cost.nats.sum() for cost in costs]) / math.log(2)
        return {
            "forced_match": _mean([bool(cost.likeliest.all()) for cost in costs]),
            "answer_bits_per_byte": Sums(bits, _stack(self._sizes)),
        }

    def _of_choices(self, costs: list[Costs]) -> dict[str, Sums]:
        plain, by_length = [], []
        place = 0
        for question in self._questions:
            span = slice(place, place + len(question.choices))
            place = span.stop
            nats = _stack([cost.nats.sum() for cost in costs[span]])
            plain.append(_chosen(nats) == question.right)
            by_length.append(_chosen(nats / _stack(self._sizes[span])) == question.right)
        return {"accuracy": _mean(plain), "accuracy_per_byte": _mean(by_length)}


def measure(
    made: Measure, model: Any, settings: EvaluationSettings, tick: Tick = lambda share: None
) -> Mapping[str, Metric]:
    """All metrics of a model on one file, with their intervals."""
    share = 0.5 if settings.generate and made.data.kind == "answer" else 1.0
    sums = made.sums(model, lambda done: tick(done * share))
    if settings.generate:
        sums |= made.generated(model, lambda done: tick(done * share))
    return {name: found.metric(name, settings) for name, found in sums.items()}


def _chosen(nats: Tensor) -> int:
    """The cheapest choice, the first of equals; none where a cost is not a number."""
    return int(nats.argmin()) if bool(nats.isfinite().all()) else -1


def _stack(values: Any) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def _mean(values: list[bool]) -> Sums:
    numbers = _stack(values)
    return Sums(numbers, torch.ones_like(numbers))
