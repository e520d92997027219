"""How the suggestions fared against untuned methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from demo.study.claim import count, table
from demo.study.measure import RIVALS, Pair
from demo.study.score import Scores

Measure = Callable[[Scores, str], float]
MEASURES: dict[str, Measure] = {"harmonic": Scores.harmonic, "gain": Scores.mean_gain}
WORDS = {"harmonic": "harmonic mean of the shares", "gain": "mean gain"}


@dataclass(frozen=True)
class Way:
    """A way to come by a merge: its name, and which merge of a pair it is."""

    name: str
    key: Callable[[Pair], str]


WEIGHTS_ALONE = Way("suggested from the weights alone", lambda pair: "suggested")
SWEPT = Way("suggested after a sweep", lambda pair: str(pair.results["swept"]))


def evidence(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The numbers that `suggest` states: wins and means on the test data."""
    return {
        "pairs": len(pairs),
        "rivals": list(RIVALS),
        **{name: _fared(pairs, way) for name, way in (("weights", WEIGHTS_ALONE), ("sweep", SWEPT))},
        "rival": {measure: {rival: _mean(pairs, measure, rival) for rival in RIVALS} for measure in MEASURES},
    }


def _fared(pairs: Sequence[Pair], way: Way) -> dict[str, Any]:
    return {
        measure: {
            "mean": round(mean(of(pair.scores("test"), way.key(pair)) for pair in pairs), 4),
            "wins": {rival: sum(_wins(pairs, way, measure, rival)) for rival in RIVALS},
            "beats_all": sum(map(all, zip(*(_wins(pairs, way, measure, rival) for rival in RIVALS), strict=True))),
        }
        for measure, of in MEASURES.items()
    }


def _wins(pairs: Sequence[Pair], way: Way, measure: str, rival: str) -> list[bool]:
    of = MEASURES[measure]
    return [of(pair.scores("test"), way.key(pair)) > of(pair.scores("test"), rival) for pair in pairs]


def _mean(pairs: Sequence[Pair], measure: str, key: str) -> float:
    return round(mean(MEASURES[measure](pair.scores("test"), key) for pair in pairs), 4)


def summary(pairs: Sequence[Pair]) -> str:
    """One row per way and rival."""
    head = ["merge", *WORDS.values(), *(f"beats {rival}" for rival in RIVALS)]
    rows = []
    for way in (WEIGHTS_ALONE, SWEPT):
        means = [f"{mean(of(pair.scores('test'), way.key(pair)) for pair in pairs):.3f}" for of in MEASURES.values()]
        wins = [
            " / ".join(str(sum(_wins(pairs, way, measure, rival))) for measure in MEASURES) + f" of {len(pairs)}"
            for rival in RIVALS
        ]
        rows.append([way.name, *means, *wins])
    rows += [[rival, *(f"{_mean(pairs, one, rival):.3f}" for one in MEASURES), *[""] * len(RIVALS)] for rival in RIVALS]
    return table(head, rows).replace("-0.", "−0.")


def by_pair(pairs: Sequence[Pair]) -> str:
    """Every pair: the suggestion's score beside those of the rivals."""
    head = ["pair", "scenario", "suggested", "swept", *RIVALS]
    rows = []
    for pair in pairs:
        keys = (WEIGHTS_ALONE.key(pair), SWEPT.key(pair), *RIVALS)
        both = [f"{pair.scores('test').harmonic(key):.2f} / {pair.scores('test').mean_gain(key):.2f}" for key in keys]
        rows.append([pair.name, str(pair.results["suggestion"]["scenario"]), *both])
    return table(head, rows).replace("/ -", "/ −")


def scenarios(pairs: Sequence[Pair]) -> str:
    """How often each scenario was told."""
    told = [str(pair.results["suggestion"]["scenario"]) for pair in pairs]
    return ", ".join(f"{name}: {count([one == name for one in told])}" for name in dict.fromkeys(told))
