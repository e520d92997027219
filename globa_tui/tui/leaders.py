"""The layers that stand out."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence

from globa_tui.tui.metrics import BY_KEY, Record

STANDOUTS = (
    ("overlap", "largest subspace overlap"),
    ("size", "moved furthest from the base"),
    ("share.D-", "most opposite-sign energy"),
    ("clustered", "most energy in clusters"),
)


class Leaders:
    """The layers that stand out, kept up with single changes: 20,000 records are looked through only at the start."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.failed: set[int] = {index for index, record in enumerate(records) if record.get("status") == "failed"}
        self._first = {key: _best(key, records, range(len(records))) for key, _ in STANDOUTS}

    def follow(self, records: Sequence[Record], changed: Collection[int]) -> None:
        """Take these changes into account."""
        self.failed -= set(changed)
        self.failed |= {index for index in changed if records[index].get("status") == "failed"}
        for key, leaders in self._first.items():
            leading = [index for _, index in leaders]
            if changed and not set(leading).isdisjoint(changed):
                self._first[key] = _best(key, records, range(len(records)))
            elif changed:
                self._first[key] = _best(key, records, {*leading, *changed})

    def of(self, key: str) -> list[tuple[float, int]]:
        """The largest values of a metric with their layers, at most two."""
        return self._first.get(key, [])


def _best(key: str, records: Sequence[Record], places: Iterable[int]) -> list[tuple[float, int]]:
    metric = BY_KEY[key]
    values = ((value, -place) for place in places if (value := metric.value(records[place])) is not None and value)
    return [(value, -negative) for value, negative in heapq.nlargest(2, values)]
