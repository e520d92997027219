"""Findings about hidden states, where `represent` measured them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import PurePath

from globa_tui.findings.finding import PUBLISHED, Evidence, Finding, percent

HARD = 3.0
"""MDS from which a fine-tune counts as hard to merge: in the paper's groups of 8, what collapsed had 3.8 to 8.2."""
FEWEST = 4
"""With fewer fine-tunes MDS says little: of three, one always has 2 or more, whatever the distances."""


def hard_to_merge(evidence: Evidence) -> Iterator[Finding]:
    """The fine-tune with the worst merging difficulty."""
    found = evidence.representation
    if found is None:
        return
    scores = found[found["position"]]["mds"]
    if not scores:
        return
    worst = max(range(len(scores)), key=lambda task: float("inf") if scores[task] is None else scores[task])
    score = float("inf") if scores[worst] is None else scores[worst]
    if len(scores) < FEWEST or score < HARD:
        return
    text = (
        f"{_name(evidence, worst)} is hardest to merge of {len(scores)} (MDS {score:.3g}, 1 is easiest): its hidden "
        "states are far from all others'; leave it out, or give it an evaluation of its own"
    )
    yield Finding("hard_to_merge", 0.86, PUBLISHED, text, {"task": worst + 1, "mds": scores[worst]})


def far_apart(evidence: Evidence) -> Iterator[Finding]:
    """The pair whose hidden states are farthest apart."""
    found = evidence.representation
    if found is None:
        return
    relative = found[found["position"]]["relative"]
    pairs = list(combinations(range(len(relative)), 2))
    if not pairs:
        return
    first, second = max(pairs, key=lambda pair: relative[pair[0]][pair[1]])
    share = relative[first][second]
    most = ", the most of all pairs" if len(pairs) > 1 else ""
    text = (
        f"hidden states of {_name(evidence, first)} and {_name(evidence, second)} differ by {percent(share)} of their "
        f"norm on {found['inputs']['count']} inputs{most}; in the paper pairs lost more the farther apart they were, "
        "and no limit is published"
    )
    numbers = {"pair": [first + 1, second + 1], "relative": share, "position": found["position"]}
    yield Finding("far_apart", min(0.82, 0.4 + 0.5 * share), PUBLISHED, text, numbers)


def _name(evidence: Evidence, task: int) -> str:
    models = evidence.representation["models"] if evidence.representation else []
    return PurePath(str(models[task + 1].get("source"))).name or f"ft{task + 1}"
