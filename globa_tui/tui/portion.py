"""Taking over many records in one walk: cleaned, and with what the first screen says of them.

A walk over 20,000 records reads 300 MB from memory. So everything that is to be known of a record is asked while it is
at hand, a few records at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from globa_tui.tui.cleaning import TOGETHER, clean_records
from globa_tui.tui.hidden import Hidden
from globa_tui.tui.leaders import STANDOUTS
from globa_tui.tui.metrics import numbers_of
from globa_tui.tui.tally import Tally

Record = dict[str, Any]


@dataclass
class Portion:
    """Some layers as the interface shows them."""

    places: list[int] = field(default_factory=list)
    """Where they stand among all layers."""
    records: list[Record] = field(default_factory=list)
    numbers: dict[str, list[float | None]] = field(default_factory=lambda: {key: [] for key, _ in STANDOUTS})
    """Metrics that the first screen needs, of each of them."""
    tally: Tally = field(default_factory=Tally)
    """What they add to the sums over all layers."""

    def add(
        self,
        places: Sequence[int],
        raw: Sequence[Mapping[str, Any]],
        before: Sequence[Record] = (),
        hidden: Hidden | None = None,
    ) -> None:
        """Clean records, and sum them up.

        Parameters
        ----------
        places : sequence of int
            Where the records stand among all layers.
        raw : sequence of mapping
            Records as the store has them.
        before : sequence of dict
            What was shown in these places until now, and is in the sums; empty when nothing was.
        hidden : Hidden, optional
            Distances of hidden states, where there are some.
        """
        self.places += places
        for start in range(0, len(raw), TOGETHER):
            records = clean_records(raw[start : start + TOGETHER])
            if hidden is not None:
                records = [record | hidden.of(record) for record in records]
            for key, column in self.numbers.items():
                column += numbers_of(key, records)
            self.tally.add_all(records)
            self.tally.add_all(before[start : start + TOGETHER], -1)
            self.records += records
