"""Findings about the checkpoints and the state of the run."""

from __future__ import annotations

from collections.abc import Iterator

from globa_tui.findings.finding import (
    DESCRIPTIVE,
    FACT,
    MOST_LAYERS,
    Evidence,
    Finding,
    called,
    percent,
)

BARELY = 1e-3
"""A fine-tune that moved the weights by a smaller share of their norm barely differs from the base."""
FAR_LARGER = 3.0
"""Task vectors whose norms differ by this factor are not on one scale."""
ALIKE = 0.9
"""Cosine of two task vectors from which they count as nearly the same change."""
AGAINST = -0.1
"""Cosine below which two task vectors pull in opposite directions."""


def unrelated(evidence: Evidence) -> Iterator[Finding]:
    """A fine-tune that is none of this base."""
    for found in evidence.manifest.get("findings") or ():
        if found.get("code") == "unrelated":
            yield Finding("unrelated", 1.0, FACT, str(found.get("message")))


def failed(evidence: Evidence) -> Iterator[Finding]:
    """Layers that could not be analysed."""
    names = [record["name"] for record in evidence.records if record["status"] == "failed"]
    if names:
        first = next(record for record in evidence.records if record["status"] == "failed")
        text = (
            f"{len(names)} of {len(names) + len(evidence.done)} layers failed, the first is {names[0]} "
            f"({first.get('error')}); merges leave them out, and no number here counts them"
        )
        yield Finding("failed", 0.98, FACT, text, {"failed": len(names)}, tuple(names[:MOST_LAYERS]))


def incomplete(evidence: Evidence) -> Iterator[Finding]:
    """Layers that are not analysed yet."""
    pending = sum(record["status"] == "pending" for record in evidence.records)
    if pending:
        done = len(evidence.done)
        text = f"{done} of {done + pending} layers are analysed: what follows may change with the others"
        yield Finding("incomplete", 0.99, FACT, text, {"done": done, "pending": pending})


def barely_differs(evidence: Evidence) -> Iterator[Finding]:
    """A fine-tune that hardly moved."""
    base = evidence.norm(None)
    for task in range(evidence.tasks):
        share = evidence.norm(task) / base if base else 1.0
        if evidence.done and share < BARELY:
            what = (
                "is the base"
                if share == 0.0
                else f"barely differs from the base: it moved {percent(share)} of its norm"
            )
            text = f"{called(task)} {what}; a merge gains little from it, and 16-bit rounding can be as large"
            yield Finding("barely_differs", 0.9, FACT, text, {"task": task + 1, "relative_size": share})


def frozen(evidence: Evidence) -> Iterator[Finding]:
    """Layers that a fine-tune left exactly as they were, where it moved others."""
    for task in range(evidence.tasks):
        norms = zip(evidence.done, evidence.norms(task), strict=True)
        still = [record["name"] for record, norm in norms if norm == 0.0]
        if still and len(still) < len(evidence.done):
            text = (
                f"{called(task)} left {len(still)} of {len(evidence.done)} analysed layers exactly as they were: "
                "no conflict there, whatever is merged"
            )
            numbers = {"task": task + 1, "layers": len(still)}
            yield Finding("frozen", 0.35, FACT, text, numbers, tuple(still[:MOST_LAYERS]))


def sizes(evidence: Evidence) -> Iterator[Finding]:
    """A fine-tune whose task vector is far larger than another's."""
    norms = [evidence.norm(task) for task in range(evidence.tasks)]
    moved = [task for task, norm in enumerate(norms) if norm > 0]
    if len(moved) < 2:
        return
    large, small = max(moved, key=lambda task: norms[task]), min(moved, key=lambda task: norms[task])
    ratio = norms[large] / norms[small]
    if ratio >= FAR_LARGER:
        text = (
            f"{called(large)}'s task vector is {ratio:.1f} times as long as {called(small)}'s: equal coefficients "
            f"favour {called(large)}; lower its coefficient or raise the other's, and let an evaluation choose"
        )
        numbers = {"larger": large + 1, "smaller": small + 1, "ratio": ratio}
        yield Finding("sizes", min(0.85, 0.5 + ratio / 40), DESCRIPTIVE, text, numbers)


def alike(evidence: Evidence) -> Iterator[Finding]:
    """Two fine-tunes that moved nearly alike, or against each other, entry by entry."""
    if evidence.tasks != 2:
        return
    pairs = [
        (record["conflict"]["cosine"], one * two)
        for record, one, two in zip(evidence.done, evidence.norms(0), evidence.norms(1), strict=True)
        if (record.get("conflict") or {}).get("cosine") is not None
    ]
    size = evidence.norm(0) * evidence.norm(1)
    if not pairs or not size:
        return
    cosine = sum(value * weight for value, weight in pairs) / size
    numbers = {"cosine": cosine}
    if cosine >= ALIKE:
        text = (
            f"ft1 and ft2 moved nearly alike (cosine {cosine:.2f}): their sum is one of them taken twice; average them"
        )
        yield Finding("alike", 0.8, DESCRIPTIVE, text, numbers)
    elif cosine <= AGAINST:
        text = f"ft1 and ft2 pull against each other (cosine {cosine:.2f}): a sum cancels part of both"
        yield Finding("against", 0.7, DESCRIPTIVE, text, numbers)
