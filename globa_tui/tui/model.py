"""What the interface knows about a run: plain values that the disk thread sent, and sums over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.words import source_name

if TYPE_CHECKING:
    from globa_tui.effect import EffectTable

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
class RunModel:
    """The run on the screen. Only the user interface thread touches it."""

    path: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    packed: bool = False
    loaded: bool = False
    """Whether an index is there at all, from the checkpoints or from the run."""
    stored: bool = False
    """Whether it came from the run rather than from the checkpoints."""
    _effect: EffectTable | None = None

    @property
    def tasks(self) -> int:
        """Number of fine-tunes."""
        return max(len(self.fine_tuned), 1)

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        """The checkpoints that are compared, the base first."""
        sources: Sequence[Mapping[str, Any]] = self.manifest.get("sources", ())
        return sources

    @property
    def anchor(self) -> int:
        """Number (from 1) of the fine-tune whose matrix is C1."""
        anchor = (self.manifest.get("settings") or {}).get("anchor", 1)
        return anchor if type(anchor) is int and 1 <= anchor <= self.tasks else 1

    @property
    def base(self) -> Mapping[str, Any]:
        """The base checkpoint."""
        return next((source for source in self.sources if source.get("role") == "base"), {})

    @property
    def fine_tuned(self) -> Sequence[Mapping[str, Any]]:
        """The fine-tunes, in order."""
        return [source for source in self.sources if source.get("role") != "base"]

    @property
    def title(self) -> str:
        """The compared models in one line."""
        names = [source_name(source) for source in self.sources]
        return " + ".join(names) if names else source_name({"source": str(self.path)})

    @property
    def effect(self) -> EffectTable:
        """The scalars that estimates need; built, and NumPy imported, when first asked for."""
        if self._effect is None:
            from globa_tui.effect import EffectTable

            self._effect = EffectTable.from_records(self.records, self.tasks, self.anchor)
        return self._effect

    @property
    def counts(self) -> Counts:
        """How many layers are in which state."""
        states = [record["status"] for record in self.records]
        done, failed, skipped = (states.count(state) for state in ("done", "failed", "skipped"))
        pending = sum(record["status"] == "pending" and record["role"] == "matrix" for record in self.records)
        return Counts(len(states), done + failed + pending, done, failed, skipped)

    def load(self, manifest: Mapping[str, Any], records: Sequence[Record], *, packed: bool, stored: bool) -> bool:
        """Take over a whole index; returns whether the list of layers is another one than before."""
        before = [record["name"] for record in self.records]
        self.manifest, self.packed, self.stored, self.loaded = manifest, packed, stored, True
        self.records = list(records)
        self._effect = None
        return before != [record["name"] for record in self.records]

    def put(self, changed: Mapping[int, Record]) -> None:
        """Take over records that changed."""
        for index, record in changed.items():
            self.records[index] = record
            if self._effect is not None:
                self._effect.put(index, record)

    def pattern_totals(self) -> dict[str, tuple[int, float]]:
        """Count and energy of every pattern over the finished layers."""
        counts, energies = dict.fromkeys(PATTERNS, 0), dict.fromkeys(PATTERNS, 0.0)
        for record in self.records:
            for pattern, cell in record.get("patterns", {}).items():
                counts[pattern] += cell["count"]
                energies[pattern] += cell["energy"]
        return {pattern: (counts[pattern], energies[pattern]) for pattern in PATTERNS}
