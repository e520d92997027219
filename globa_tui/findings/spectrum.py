"""Findings about what truncation and pruning keep."""

from __future__ import annotations

import math
from collections.abc import Iterator

from globa_tui.findings.finding import (
    DESCRIPTIVE,
    MOST_LAYERS,
    Evidence,
    Finding,
    Record,
    called,
    percent,
)

MOST_LOST = 0.3
"""Share of a task vector's energy that truncation and pruning may lose without a finding."""
LEAST_SIDE = 8
"""Narrower matrices have few directions anyway."""


def nearly_rank_one(evidence: Evidence) -> Iterator[Finding]:
    """Matrices of which the threshold keeps one direction although the rest is not nothing."""
    for task in range(evidence.tasks):
        norms = zip(evidence.done, evidence.norms(task), strict=True)
        shares = [(norm, record, _only_direction(record, task)) for record, norm in norms]
        found = sorted(((norm, record, share) for norm, record, share in shares if share), key=lambda each: -each[0])
        if not found:
            continue
        _, record, share = found[0]
        exclude = "embed" if record.get("kind") == "embed" else str(record.get("kind"))
        more = f" ({len(found) - 1} more such layers)" if len(found) > 1 else ""
        text = (
            f"{record['name']}: {percent(share)} of {called(task)}'s energy lies in one direction, so the threshold "
            f"keeps rank 1 and loses the rest{more}; leave it out (--exclude {exclude}) or keep more "
            "(--svd-energy 0.99)"
        )
        numbers = {"task": task + 1, "share": share, "layers": len(found)}
        names = tuple(record["name"] for _, record, _ in found[:MOST_LAYERS])
        yield Finding("nearly_rank_one", 0.88 if exclude == "embed" else 0.6, DESCRIPTIVE, text, numbers, names)


def _only_direction(record: Record, task: int) -> float | None:
    """Energy of the first direction where it is the only one kept, and something is lost by that."""
    stable = (record.get("stable_rank") or [])[task : task + 1]
    ranks = record.get("rank") or []
    if not stable or not stable[0] or task >= len(ranks) or ranks[task] != 1 or min(record["shape"]) < LEAST_SIDE:
        return None
    share = 1.0 / float(stable[0])
    return share if share < 0.999 else None


def lost(evidence: Evidence) -> Iterator[Finding]:
    """A task vector of which truncation and pruning keep little."""
    for task in range(evidence.tasks):
        whole = evidence.norm(task) ** 2
        kept = math.fsum(evidence.pruned_energies(task))
        if whole and 1.0 - kept / whole > MOST_LOST:
            gone = 1.0 - kept / whole
            text = (
                f"truncation and pruning lose {percent(gone)} of {called(task)}'s energy; a merge from this analysis "
                "cannot bring it back: raise --svd-energy and --eta"
            )
            yield Finding("lost", min(0.87, 0.4 + gone), DESCRIPTIVE, text, {"task": task + 1, "lost": gone})
