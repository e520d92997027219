"""The numbers that an evaluation gives, and what they say about a model. Free of torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args


@dataclass(frozen=True)
class Metric:
    """One number of a measurement."""

    name: str
    value: float | None
    """None where the model's output is not finite."""
    low: float | None
    high: float | None
    """Ends of the confidence interval."""
    items: int | None
    """Windows or questions it is over."""


LOWER_IS_BETTER = frozenset({"bits_per_byte", "answer_bits_per_byte", "perplexity"})

SCORES: Mapping[str, str] = {"text": "bits_per_byte", "answer": "forced_match", "choice": "accuracy"}
"""The metric that stands for a task in a sweep, by the kind of its data."""


METRICS: Mapping[str, tuple[str, ...]] = {
    "text": ("bits_per_byte", "perplexity", "token_accuracy"),
    "answer": ("forced_match", "answer_bits_per_byte", "exact_match"),
    "choice": ("accuracy", "accuracy_per_byte"),
}
"""The metrics of a file, by its kind."""


def performance(metric: str, value: float | None) -> float:
    """A metric as performance, 0 or more and higher better: bits and perplexity by their inverse."""
    if value is None or not math.isfinite(value):
        return 0.0
    if metric in LOWER_IS_BETTER:
        return 1.0 / value if value > 0 else math.inf
    return max(value, 0.0)


def share_kept(metric: str, value: float | None, reference: float | None) -> float:
    """Performance of a merged model over that of the fine-tune: 1 keeps all of it, and 1 more is the merging loss.

    The merging loss of Mergeability, section 3, is this share minus 1.
    """
    best = performance(metric, reference)
    return performance(metric, value) / best if best > 0 and math.isfinite(best) else 0.0


Score = Literal["share", "gain"]
"""How a task counts: its share of the best fine-tune's performance, or of what the fine-tune gained over the base."""

SCORINGS: tuple[Score, ...] = get_args(Score)


@dataclass(frozen=True)
class Reference:
    """What the base and the best fine-tune reach in a task."""

    metric: str
    base: float | None
    best: float | None

    def share(self, value: float | None, score: Score) -> float:
        """The share that a value keeps; of the gain it is negative below the base, 0 where nothing was gained."""
        if score == "share":
            return share_kept(self.metric, value, self.best)
        base, best = performance(self.metric, self.base), performance(self.metric, self.best)
        gained = best - base
        return (performance(self.metric, value) - base) / gained if gained > 0 and math.isfinite(gained) else 0.0


def harmonic_mean(shares: Iterable[float]) -> float:
    """The harmonic mean; 0 as soon as one share is 0, so a lost task is not made up for by another."""
    values = list(shares)
    if not values or min(values) <= 0:
        return 0.0
    inverses = sum(1.0 / value for value in values)
    return len(values) / inverses if inverses else math.inf


def metrics_from(record: Mapping[str, Any]) -> list[Metric]:
    """The metrics of a record of `evaluations.jsonl`; what a stranger wrote there and is no number is left out."""
    found = record.get("metrics")
    if not isinstance(found, dict):
        return []
    return [
        Metric(
            str(name),
            _number(values.get("value")),
            _number(values.get("low")),
            _number(values.get("high")),
            _count(values.get("items")),
        )
        for name, values in found.items()
        if isinstance(values, dict)
    ]


def _number(value: object) -> float | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return float(value) if ok else None  # type: ignore[arg-type]


def _count(value: object) -> int | None:
    return value if type(value) is int else None
