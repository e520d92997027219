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
        return math.hypot(*self.norms(task))

    def norms(self, task: int | None) -> list[float]:
        """Norm of a task vector in each analysed layer, with None that of the base; 0 where it is not known."""
        if task not in self._norms:
            norms = [record["norm"] for record in self.done]
            self._norms[task] = (
                [float(norm["base"]) for norm in norms]
                if task is None
                else [_number(norm["task_vectors"], task) for norm in norms]
            )
        return self._norms[task]

    def energies(self, task: int, name: str) -> list[float]:
        """Energy of one pattern of a fine-tune against the anchor, in each analysed layer."""
        return self._pattern_energies(task)[PATTERNS.index(name)]

    def retained_energies(self, task: int) -> list[float]:
        """Energy of all types of a fine-tune together, in each analysed layer."""
        return [math.fsum(row) for row in zip(*self._pattern_energies(task)[1:], strict=True)]

    def pruned_energies(self, task: int) -> list[float]:
        """Energy of a task vector that truncation and pruning leave in each analysed layer."""
        if task != self.anchor:
            return self.retained_energies(task)
        return self.energies(self.others[0] if self.others else task, "C1")

    def share(self, task: int, name: str, rows: Sequence[int] | None = None) -> float:
        """Share of one type in the energy of a fine-tune, over these of the analysed layers or all."""
        places = range(len(self.done)) if rows is None else rows
        columns = self._pattern_energies(task)
        whole = math.fsum(column[row] for column in columns[1:] for row in places)
        return math.fsum(columns[PATTERNS.index(name)][row] for row in places) / whole if whole else 0.0

    def shares(self, task: int, name: str) -> list[float]:
        """Share of one type in the energy of a fine-tune, in each analysed layer."""
        pairs = zip(self.energies(task, name), self.retained_energies(task), strict=True)
        return [part / whole if whole else 0.0 for part, whole in pairs]

    @cached_property
    def _norms(self) -> dict[int | None, list[float]]:
        return {}

    @cached_property
    def _energies(self) -> dict[int, list[list[float]]]:
        return {}

    def _pattern_energies(self, task: int) -> list[list[float]]:
        """A list for each of `PATTERNS`. Read once: every rule looks at them, and a run may have 20,000 layers.

        Without NumPy, which the interface does not load for its first screen.
        """
        if task not in self._energies:
            cells = [_patterns_of(record, task, self.tasks) for record in self.done]
            found = [[float(cell[name]["energy"]) for cell in cells] for name in PATTERNS]
            if not all(math.isfinite(math.fsum(column)) for column in found):
                msg = "the energy of a type is no finite number"
                raise ValueError(msg)
            self._energies[task] = found
        return self._energies[task]


Rule = Callable[[Evidence], Iterator[Finding]]


def _number(values: Sequence[float | None], place: int) -> float:
    return float(values[place] or 0.0) if place < len(values) else 0.0


def _patterns_of(record: Record, task: int, tasks: int) -> Mapping[str, Any]:
    """Counts and energies of the types of one fine-tune against the anchor."""
    if tasks > 2:
        for pair in record.get("pairs") or ():
            if pair.get("task") == task + 1:
                found: Mapping[str, Any] = pair["patterns"]
                return found
    patterns: Mapping[str, Any] = record["patterns"]
    return patterns


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
