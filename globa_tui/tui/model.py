"""What the interface knows about a run: plain values that the disk thread sent, and sums over them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.metrics import BY_KEY, numbers_of
from globa_tui.tui.tally import Counts, Tally
from globa_tui.tui.words import labels, source_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from globa_tui.coefficients import Target
    from globa_tui.effect import EffectTable
    from globa_tui.recipe import Recipe
    from globa_tui.resolve import LayerIndex
    from globa_tui.tui.leaders import Leaders
    from globa_tui.tui.portion import Portion

Record = Mapping[str, Any]
NO_NUMBERS: Mapping[str, list[float | None]] = MappingProxyType({})
REMEMBERED = 200
"""Changes, and layers that changed, that are shown alone; after more of them everything is shown anew."""
MANY = 2_000
"""Layers whose numbers take so long to compute that they are computed ahead."""


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
    share_read: float = 1.0
    """How much of the run's summary was read so far; layers behind that are still said to be pending."""
    version: int = 0
    """How often it changed."""
    _changes: deque[tuple[int, frozenset[int]]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """Versions since the index was loaded, with the layers that changed."""
    _effect: EffectTable | None = None
    _index: LayerIndex | None = None
    _leaders: Leaders | None = None
    _own: tuple[Recipe, frozenset[int]] | None = None
    _tally: Tally = field(default_factory=Tally)
    _labels: list[str] | None = None
    _numbers: dict[str, list[float | None]] = field(default_factory=dict)
    _arrays: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def reading(self) -> bool:
        """Whether records of the run are still to come."""
        return self.share_read < 1

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
    def effect_gathered(self) -> bool:
        """Whether `effect` is there, or gathered in no time."""
        return not self.reading and (self._effect is not None or len(self.records) < MANY)

    @property
    def matrices(self) -> int:
        """Number of matrices among the tensors."""
        return self._tally.matrices

    @property
    def leaders(self) -> Leaders:
        """The layers that stand out; looked for when first asked."""
        if self._leaders is None:
            from globa_tui.tui.leaders import Leaders

            self._leaders = Leaders(self.records, self.numbers)
        return self._leaders

    @property
    def labels(self) -> list[str]:
        """Short names of all layers."""
        if self._labels is None:
            self._labels = labels(self.records)
        return self._labels

    def numbers(self, key: str) -> list[float | None]:
        """A metric of all layers; kept, and followed up with single changes, once it was asked for."""
        if key not in self._numbers:
            self._numbers[key] = numbers_of(key, self.records)
        return self._numbers[key]

    def array(self, key: str) -> NDArray[np.float64]:
        """A metric of all layers, nan where there is none; kept, and followed up, as `numbers` is."""
        if key not in self._arrays:
            import numpy as np

            self._arrays[key] = np.array(self.numbers(key), dtype=float)
        return self._arrays[key]

    def number(self, key: str, place: int) -> float | None:
        """A metric of one layer, without computing those of all others."""
        numbers = self._numbers.get(key)
        return numbers[place] if numbers is not None else BY_KEY[key].value(self.records[place])

    def missing_numbers(self) -> list[str]:
        """Metrics that would have to be computed for so many layers that a person waits for them."""
        return [key for key in BY_KEY if key not in self._numbers] if len(self.records) >= MANY else []

    def take_numbers(self, numbers: Mapping[str, list[float | None]], version: int) -> bool:
        """Take over metrics that were computed from an older version; False when too much has changed since."""
        changed = self.changed_since(version)
        if changed is None:
            return False
        for key, column in numbers.items():
            if key not in self._numbers:
                for place in changed:
                    column[place] = BY_KEY[key].value(self.records[place])
                self._numbers[key] = column
        return True

    def take_effect(self, effect: EffectTable, version: int) -> bool:
        """Take over the scalars of estimates, gathered from an older version; False when too much has changed since."""
        changed = self.changed_since(version)
        if changed is None:
            return False
        if self._effect is None:
            for place in changed:
                effect.put(place, self.records[place])
            self._effect = effect
        return True

    @property
    def layer_index(self) -> LayerIndex:
        """Names, kinds and blocks, ready for finding the layers of a target; built when first asked for."""
        if self._index is None:
            from globa_tui.resolve import LayerIndex

            self._index = LayerIndex(self.records)
        return self._index

    def own_layers(self, recipe: Recipe | None) -> frozenset[int]:
        """Matrices that a part of the recipe other than the model's coefficients holds for."""
        if recipe is None or not recipe.overrides:
            return frozenset()
        if self._own is None or self._own[0] is not recipe:
            rows = self.layer_index.own(recipe).nonzero()[0].tolist()
            self._own = recipe, frozenset(row for row in rows if self.records[row].get("role") == "matrix")
        return self._own[1]

    def rows_of(self, targets: Iterable[Target]) -> list[int]:
        """Layers that belong to one of these targets."""
        rows: set[int] = set()
        for target in targets:
            found = self.layer_index.rows(target)
            rows.update(range(len(self.records)) if isinstance(found, slice) else found.tolist())
        return sorted(rows)

    @property
    def counts(self) -> Counts:
        """How many layers are in which state."""
        return self._tally.counts()

    def load(
        self,
        manifest: Mapping[str, Any],
        records: Sequence[Record],
        *,
        packed: bool,
        stored: bool,
        numbers: Mapping[str, list[float | None]] = NO_NUMBERS,
        tally: Tally | None = None,
        share_read: float = 1.0,
    ) -> bool:
        """Take over a whole index; returns whether the list of layers is another one than before."""
        before = [record["name"] for record in self.records]
        self.version += 1
        self.manifest, self.packed, self.stored, self.loaded = manifest, packed, stored, True
        self.records = list(records)
        self._changes.clear()
        self._effect = self._index = self._own = self._leaders = None
        self._labels, self._numbers, self._arrays = None, dict(numbers), {}
        self.share_read = share_read
        self._tally = tally or Tally()
        if tally is None:
            self._tally.add_all(self.records)
        return before != [record["name"] for record in self.records]

    def read_on(self, portion: Portion, share_read: float) -> None:
        """Take over more of the records of the run that was opened."""
        self.version += 1
        self.share_read = share_read
        self._changes.clear()
        self._effect = self._leaders = None
        self._arrays.clear()
        self._tally.join(portion.tally)
        for key, numbers in self._numbers.items():
            column = portion.numbers.get(key) or numbers_of(key, portion.records)
            for place, value in zip(portion.places, column, strict=True):
                numbers[place] = value
        # A layer that was analysed again stands there twice; the later one counts.
        for place, record in zip(portion.places, portion.records, strict=True):
            self.records[place] = record

    def put(self, changed: Mapping[int, Record]) -> None:
        """Take over records that changed."""
        self.version += 1
        self._changes.append((self.version, frozenset(changed)))
        for index, record in changed.items():
            self._tally.add(self.records[index], -1)
            self._tally.add(record)
            self.records[index] = record
            if self._effect is not None:
                self._effect.put(index, record)
        for key, numbers in self._numbers.items():
            array = self._arrays.get(key)
            for index, record in changed.items():
                number = numbers[index] = BY_KEY[key].value(record)
                if array is not None:
                    array[index] = math.nan if number is None else number
        if self._leaders is not None:
            self._leaders.follow(self.records, changed.keys())

    def changed_since(self, version: int) -> set[int] | None:
        """Layers that changed since that version; None when the index is another one, or too much happened."""
        newer = [changed for number, changed in self._changes if number > version]
        changed = set().union(*newer)
        return changed if len(newer) == self.version - version and len(changed) <= REMEMBERED else None

    def pattern_totals(self, rows: Iterable[int] | None = None) -> dict[str, tuple[int, float]]:
        """Count and energy of every pattern over the finished ones of these layers, or of all."""
        tally = self._tally
        if rows is not None:
            tally = Tally()
            for row in rows:
                tally.add(self.records[row])
        return {pattern: (tally.entries[pattern], tally.energies[pattern]) for pattern in PATTERNS}
