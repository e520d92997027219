"""Findings about where fine-tunes meet: opposite signs, shared and free directions, degenerate ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import nlargest

from globa_tui.findings.finding import (
    DESCRIPTIVE,
    MOST_LAYERS,
    Evidence,
    Finding,
    Record,
    blocks_text,
    called,
    percent,
)

OPPOSITE = 0.1
"""Share of a group's energy in D- that is worth a finding."""
ABOVE_ALL = 1.25
"""A group stands out when its share is this many times that of all layers."""
MOST_GROUPS = 3
FREE = 0.5
"""Share of conflict-free energy from which a merge of A alone keeps most of the other fine-tune."""
HARDLY_FREE = 0.05
DEGENERATE = 0.1
"""Share of energy in degenerate directions that is worth a finding."""


def opposite_signs(evidence: Evidence) -> Iterator[Finding]:
    """Kinds of modules, and the blocks of them, where much energy is of opposite sign."""
    found = []
    for task in evidence.others:
        overall = evidence.share(task, "D-")
        least = max(OPPOSITE, ABOVE_ALL * overall)
        found += [(share, overall, task, kind, records) for kind, records, share in _groups(evidence, task, least)]
    for share, overall, task, kind, records in sorted(found, key=lambda group: -group[0])[:MOST_GROUPS]:
        blocks = sorted({record["block"] for record in records if record["block"] is not None})
        where = f"{blocks_text(blocks)} {kind}" if blocks else kind
        text = (
            f"{where}: {percent(share)} of {called(task)}'s retained energy lies in opposite-sign overlap with "
            f"{called(evidence.anchor)} ({percent(overall)} over all layers); D- is the coefficient to try there"
        )
        numbers = {"task": task + 1, "kind": kind, "blocks": blocks, "share": share, "overall": overall}
        names = tuple(record["name"] for record in records[:MOST_LAYERS])
        yield Finding("opposite_signs", min(0.84, 0.3 + share), DESCRIPTIVE, text, numbers, names)


def conflict_free(evidence: Evidence) -> Iterator[Finding]:
    """How much of a fine-tune the conflict-free part holds."""
    for task in evidence.others:
        free = evidence.share(task, "A")
        if not evidence.done or HARDLY_FREE <= free <= FREE:
            continue
        words = (
            f"{percent(free)} of {called(task)}'s energy is conflict-free (A): adding that part alone disturbs "
            f"{called(evidence.anchor)} least"
            if free > FREE
            else f"only {percent(free)} of {called(task)}'s energy is conflict-free (A): the fine-tunes share their "
            "directions, and every merge has to weigh them"
        )
        yield Finding("conflict_free", 0.4, DESCRIPTIVE, words, {"task": task + 1, "share": free})


def degenerate(evidence: Evidence) -> Iterator[Finding]:
    """Energy in directions that no SVD determines."""
    inside = {side: 0.0 for side in ("left", "right")}
    worst: list[tuple[float, str]] = []
    for record in evidence.done:
        clusters = record.get("clusters") or {}
        found = {side: float((clusters.get(side) or {}).get("energy") or 0.0) for side in inside}
        for side in inside:
            inside[side] += found[side]
        worst.append((max(found.values()), record["name"]))
    whole = _truncated_energy(evidence)
    share = max(inside.values()) / whole if whole else 0.0
    if share < DEGENERATE:
        return
    if evidence.settings.get("basis") == "lapack":
        cure = "the types of this run are arbitrary there: analyse with --basis canonical"
    else:
        cure = f"published-procedure results would be arbitrary here, the {evidence.settings.get('basis')} basis is not"
    text = f"{percent(share)} of the energy sits in degenerate directions of the global basis: {cure}"
    names = tuple(name for _, name in nlargest(MOST_LAYERS, worst))
    score = 0.9 if evidence.settings.get("basis") == "lapack" else 0.3 + 0.3 * share
    yield Finding("degenerate", score, DESCRIPTIVE, text, {"share": share}, names)


def _groups(evidence: Evidence, task: int, least: float) -> Iterator[tuple[str, list[Record], float]]:
    """Runs of neighbouring blocks of one kind, each with more than that share in D-."""
    done = evidence.done
    high = [share >= least for share in evidence.shares(task, "D-")]
    kinds: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(done):
        kinds[str(record.get("kind"))].append(row)
    for kind, rows in kinds.items():
        held: list[int] = []
        for row in sorted(rows, key=lambda row: (done[row]["block"] is None, done[row]["block"] or 0)):
            if held and not (high[row] and _follows(done[held[-1]], done[row])):
                yield kind, [done[each] for each in held], evidence.share(task, "D-", held)
                held = []
            held += [row] if high[row] else []
        if held:
            yield kind, [done[each] for each in held], evidence.share(task, "D-", held)


def _follows(before: Record, record: Record) -> bool:
    """Whether a record is of the same block as another, or of the next."""
    first, second = before["block"], record["block"]
    return first is not None and second is not None and second - first <= 1


def _truncated_energy(evidence: Evidence) -> float:
    """Energy of all truncated task vectors: that of the pruned matrices over what pruning retained of it."""
    whole = 0.0
    for task in range(evidence.tasks):
        pruned = evidence.pruned_energies(task)
        for record, energy in zip(evidence.done, pruned, strict=True):
            share = (record.get("retained") or [])[task : task + 1]
            whole += energy / share[0] if share and share[0] else 0.0
    return whole
