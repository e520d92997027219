"""What the paper on merging collapse says, on the pairs and on all fine-tunes together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import product

from scipy.stats import f_oneway, pearsonr

from demo.study.claim import Claim, p_value, table, verdict
from demo.study.measure import COLLAPSE, METHODS, Group, Pair

CONFLICT = (
    "Parameter Magnitude Change Ratio",
    "Parameter Sign Change Ratio",
    "Conflicting Parameter Magnitude Change Ratio",
    "Average Cosine Similarity",
)
HIDDEN = "Hidden State Distance Similarity"
SURE = 0.05
FEWEST = 12
"""Fewer pairs say nothing of a correlation."""


def collapse_claims(pairs: Sequence[Pair], group: Group) -> list[Claim]:
    """All of them."""
    return [*correlations(pairs, group), difficulty(group), task_or_method(pairs, group)]


def correlations(pairs: Sequence[Pair], group: Group) -> list[Claim]:
    """Table 4: each measure against the merging loss of pairs."""
    values = {name: [pair.weights[name] for pair in pairs] for name in pairs[0].weights}
    values[HIDDEN] = [_similar(pair, group) for pair in pairs]
    found = {
        (name, method): _correlation(values[name], [pair.scores("test").mean_loss(method) for pair in pairs])
        for name, method in product(values, COLLAPSE)
    }
    sure = [found[name, method][1] < SURE for name, method in product(CONFLICT, COLLAPSE)]
    hidden = {method: found[HIDDEN, method][1] < SURE for method in COLLAPSE}
    enough = len(pairs) >= FEWEST
    others = table(["measure", *COLLAPSE], [_row(name, found) for name in values if name not in (*CONFLICT, HIDDEN)])
    return [
        Claim(
            "Merging collapse, Table 4",
            "No measure of conflict between the weights is correlated with the merging loss of pairs (p > 0.05).",
            verdict(not any(sure)) if enough else "not testable at this size",
            f"p < 0.05 in {sum(sure)} of {len(sure)} cells; by chance alone one in twenty would be. Pearson's r, p in "
            f"brackets, over {len(pairs)} pairs.",
            table(["measure", *COLLAPSE], [_row(name, found) for name in CONFLICT]),
        ),
        Claim(
            "Merging collapse, Table 4",
            "The distance of hidden states is correlated with the merging loss of pairs (p < 0.05, but for DARE).",
            verdict(all(sure for method, sure in hidden.items() if method != "DARE"))
            if enough
            else "not testable at this size",
            f"p < 0.05 for {', '.join(method for method, sure in hidden.items() if sure) or 'none'}. Pairs share "
            "fine-tunes, so they are fewer than they look, here as in the paper. Below it, what GLOBA measures.",
            table(["measure", *COLLAPSE], [_row(HIDDEN, found)]) + "\n\n" + others,
        ),
    ]


def _row(name: str, found: Mapping[tuple[str, str], tuple[float, float]]) -> list[str]:
    cells = (found[name, method] for method in COLLAPSE)
    return [name, *(f"{r:+.2f} ({p_value(p)})".replace("-", "−") for r, p in cells)]


def _similar(pair: Pair, group: Group) -> float:
    first, second = (group.members.index(member) for member in pair.members)
    return group.similar[first][second]


def _correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Pearson's r and its two-sided p; 0 and 1 where one of them does not vary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        r, p = map(float, pearsonr(first, second))
    return (0.0, 1.0) if math.isnan(r) else (r, p)


def difficulty(group: Group) -> Claim:
    """Table 5: MDS against the best merging loss in one merge of all."""
    scores = group.scores("test")
    methods = [name for name in METHODS if name in group.results]
    best = [max(scores.loss(method, member) for method in methods) for member in group.members]
    known = [place for place, score in enumerate(group.difficulty) if score is not None]
    r, p = _correlation([group.difficulty[place] for place in known], [best[place] for place in known])
    rows = [
        [member.name, "∞" if score is None else f"{score:.2f}", f"{100 * loss:.1f} %".replace("-", "−")]
        for member, score, loss in zip(group.members, group.difficulty, best, strict=True)
    ]
    return Claim(
        "Merging collapse, Table 5",
        "A higher merging difficulty score (MDS) goes with a worse merging loss (p < 0.05).",
        verdict(p < SURE and r < 0),
        f"r = {f'{r:+.2f}'.replace('-', '−')}, p = {p_value(p)} over {len(known)} fine-tunes merged into one, each "
        f"with its best loss over {len(methods)} methods; one group, where the paper has four.",
        table(["fine-tune", "MDS", "best loss"], rows),
    )


def task_or_method(pairs: Sequence[Pair], group: Group) -> Claim:
    """Table 3: one-way analyses of variance of the merging loss."""
    in_pairs = [
        (method, member.name, pair.scores("test").loss(method, member))
        for pair in pairs
        for member in pair.members
        for method in COLLAPSE
    ]
    methods = [name for name in METHODS if name in group.results]
    in_group = [
        (method, member.name, group.scores("test").loss(method, member))
        for method in methods
        for member in group.members
    ]
    found = {"pairs": _variance(in_pairs), "all in one": _variance(in_group)}
    return Claim(
        "Merging collapse, Table 3",
        "The merging loss depends on the task (p < 0.05), not on the method (p > 0.05).",
        verdict(all(method > SURE and task < SURE for method, task in found.values())),
        "One-way F-tests of the merging loss, grouped by method and by fine-tune.",
        table(["", "p, method", "p, task"], [[name, *map(p_value, both)] for name, both in found.items()]),
    )


def _variance(losses: Sequence[tuple[str, str, float]]) -> tuple[float, float]:
    """p-values of the F-test by method and by task."""
    by_method: dict[str, list[float]] = {}
    by_task: dict[str, list[float]] = {}
    for method, task, loss in losses:
        by_method.setdefault(method, []).append(loss)
        by_task.setdefault(task, []).append(loss)
    return float(f_oneway(*by_method.values()).pvalue), float(f_oneway(*by_task.values()).pvalue)
