"""Sums over all layers that follow each change, so that 20,000 of them are not summed up anew for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from globa_tui.coefficients import PATTERNS

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many layers are in which state."""

    tensors: int = 0
    """All of the base."""
    total: int = 0
    """Those that are to be analysed: matrices that are not left out."""
    done: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def pending(self) -> int:
        """Layers that are still to be analysed."""
        return self.total - self.done - self.failed


@dataclass
class Tally:
    """Sums over records."""

    states: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    """Matrices that are not analysed yet."""
    matrices: int = 0
    entries: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PATTERNS, 0))
    energies: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PATTERNS, 0.0))

    def add(self, record: Record, sign: int = 1) -> None:
        """Take a record into the sums, or with -1 out of them."""
        status = str(record["status"])
        self.states[status] = self.states.get(status, 0) + sign
        matrix = record.get("role") == "matrix"
        self.matrices += sign * matrix
        self.pending += sign * (matrix and status == "pending")
        for pattern, cell in record.get("patterns", {}).items():
            self.entries[pattern] += sign * cell["count"]
            self.energies[pattern] += sign * cell["energy"]

    def add_all(self, records: Iterable[Record], sign: int = 1) -> None:
        """Take records into the sums, or with -1 out of them."""
        for record in records:
            self.add(record, sign)

    def join(self, other: Tally) -> None:
        """Add other sums to these."""
        for state, number in other.states.items():
            self.states[state] = self.states.get(state, 0) + number
        self.pending += other.pending
        self.matrices += other.matrices
        for pattern in PATTERNS:
            self.entries[pattern] += other.entries[pattern]
            self.energies[pattern] += other.energies[pattern]

    def counts(self) -> Counts:
        """How many layers are in which state."""
        done, failed, skipped = (self.states.get(state, 0) for state in ("done", "failed", "skipped"))
        return Counts(sum(self.states.values()), done + failed + self.pending, done, failed, skipped)
