"""What a comparison found, as it lies in a run. Free of torch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from globa_tui.jobs.evaluation.metrics import Reference, Score, harmonic_mean
from globa_tui.jobs.kinds import require_kinds
from store.run.journal import read_journal


@dataclass(frozen=True)
class Line:
    """One merge: what it keeps of every task, and what it cost."""

    method: str
    setting: str
    values: Mapping[str, Mapping[str, float | None]]
    seconds: float
    """To make the merge in memory, processor time; the reading of the checkpoints is in it."""
    memory: int | None
    """Bytes that making it took on top of the loaded model; None where the system does not tell."""
    drift: float
    """Largest ‖W − W0‖ / ‖W0‖ of any tensor."""
    farthest: str
    """The tensor that moved so far."""
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """All merges on one set of tasks."""

    tasks: Mapping[str, str]
    """Name to metric."""
    references: Mapping[str, Reference]
    """What the base and the best fine-tune reach in each."""
    counting: Score
    lines: Sequence[Line]

    def score(self, line: Line) -> float:
        """Harmonic mean of the shares of a line."""
        return harmonic_mean(self.shares(line).values())

    def shares(self, line: Line) -> dict[str, float]:
        """Of every task, what a line keeps of the best fine-tune's performance, or of its gain."""
        return {
            task: reference.share(line.values.get(task, {}).get(reference.metric), self.counting)
            for task, reference in self.references.items()
        }

    def defaults(self) -> list[Line]:
        """The first line of every method: at its defaults."""
        return list({line.method: line for line in reversed(self.lines)}.values())[::-1]

    def best(self) -> dict[str, Line]:
        """The best line of every method."""
        found: dict[str, Line] = {}
        for line in self.lines:
            if line.method not in found or self.score(line) > self.score(found[line.method]):
                found[line.method] = line
        return found


def read_lines(path: Path) -> list[Line]:
    """The lines of a journal; what is none is left out."""
    names = [field.name for field in dataclasses.fields(Line)]
    found = []
    for record in read_journal(path):
        with contextlib.suppress(KeyError, ValueError):
            kept = {name: record[name] for name in names}
            require_kinds(Line, kept)
            found.append(Line(**kept))
    return found
