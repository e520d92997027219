"""What a finding is, and what the rules look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from globa_tui.coefficients import PATTERNS

Record = Mapping[str, Any]

TYPES = PATTERNS[1:]

FACT = "fact"
DESCRIPTIVE = "descriptive"
PUBLISHED = "published correlation"

SURE: Mapping[str, str] = {
    FACT: "a fact about the files or the run",
    DESCRIPTIVE: "about weights: says where, not whether a merge works",
    PUBLISHED: "hidden-state distance, the one measure with a published correlation with merging loss (one study)",
}
"""How sure a finding is, in words."""


@dataclass(frozen=True)
class Finding:
    """One thing to know about a run."""

    code: str
    """Stable name of the rule."""
    score: float
    """0 to 1: the higher, the earlier in the list."""
    sure: str
    """A key of `SURE`."""
    text: str
    """One sentence with its numbers, and what to do where something can be done."""
    numbers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    layers: tuple[str, ...] = ()
    """Tensors it is about, the most telling first; at most `MOST_LAYERS`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "code": self.code,
            "score": round(self.score, 3),
            "sure": self.sure,
            "text": self.text,
            "numbers": dict(self.numbers),
            "layers": list(self.layers),
        }


MOST_LAYERS = 10


@dataclass(frozen=True)
class Evidence:
    """A run, as the rules see it."""

    manifest: Mapping[str, Any]
    records: Sequence[Record]
    """One per layer, as `store.run.Run.records` gives them."""
    representation: Mapping[str, Any] | None = None
    """As `store.run.read_result` gives it."""

    @cached_property
    def done(self) -> list[Record]:
        """Records of the layers that were analysed."""
        return [record for record in self.records if record["status"] == "done"]

    @property
    def tasks(self) -> int:
        """Number of fine-tunes."""
        return len(self.manifest["sources"]) - 1

    @property
    def anchor(self) -> int:
        """Whose matrix plays C1, counted from 0."""
        found = self.settings.get("anchor", 1)
        return found - 1 if isinstance(found, int) and 0 < found <= self.tasks else 0

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the analysis."""
        found: Mapping[str, Any] = self.manifest["settings"]
        return found

    @property
    def others(self) -> list[int]:
        """The fine-tunes beside the anchor, counted from 0."""
        return [task for task in range(self.tasks) if task != self.anchor]

    def norm(self, task: int | None) -> float:
        """Norm of a task vector over all analysed layers; with None that of the base."""
        return math.hypot(*(base_norm(r) if task is None else task_norm(r, task) for r in self.done))


Rule = Callable[[Evidence], Iterator[Finding]]


def base_norm(record: Record) -> float:
    """‖W0‖ of a layer."""
    return float(record["norm"]["base"])


def task_norm(record: Record, task: int) -> float:
    """‖τ‖ of a layer; 0 where it is not known."""
    norms = record["norm"]["task_vectors"]
    return float(norms[task] or 0.0) if task < len(norms) else 0.0


def patterns_of(record: Record, task: int, tasks: int) -> Mapping[str, Any]:
    """Counts and energies of the types of one fine-tune against the anchor."""
    if tasks > 2:
        for pair in record.get("pairs") or ():
            if pair.get("task") == task + 1:
                found: Mapping[str, Any] = pair["patterns"]
                return found
    patterns: Mapping[str, Any] = record["patterns"]
    return patterns


def energies(record: Record, task: int, tasks: int) -> dict[str, float]:
    """Energy of each type of one fine-tune."""
    patterns = patterns_of(record, task, tasks)
    return {name: float(patterns[name]["energy"]) for name in TYPES}


def pruned_energy(record: Record, task: int, evidence: Evidence) -> float:
    """Energy of a task vector that truncation and pruning leave."""
    if task != evidence.anchor:
        return sum(energies(record, task, evidence.tasks).values())
    other = evidence.others[0] if evidence.others else task
    return float(patterns_of(record, other, evidence.tasks)["C1"]["energy"])


def called(task: int) -> str:
    """How texts call a fine-tune."""
    return f"ft{task + 1}"


def percent(share: float) -> str:
    """A share as text: enough digits, not more."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 0.095 else f"{value:.2g} %"


def blocks_text(blocks: Sequence[int]) -> str:
    """``block 3`` or ``blocks 0-3``."""
    return f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {blocks[0]}-{blocks[-1]}"
