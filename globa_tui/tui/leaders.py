"""The layers that stand out."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence

from globa_tui.tui.columns import Record

Numbers = Callable[[str], Sequence[float | None]]

STANDOUTS = (
    ("overlap", "largest subspace overlap"),
    ("size", "moved furthest from the base"),
    ("share.D-", "most opposite-sign energy"),
    ("clustered", "most energy in clusters"),
)


class Leaders:
    """The layers that stand out, kept up with single changes: 20,000 records are looked through only at the start.

    Parameters
    ----------
    records : sequence of mapping
        Records of all layers.
    numbers : callable
        Gives a metric of all layers by its key.
    """

    def __init__(self, records: Sequence[Record], numbers: Numbers) -> None:
        self.failed: set[int] = {index for index, record in enumerate(records) if record.get("status") == "failed"}
        self._numbers = numbers
        self._first = {key: _best(numbers(key)) for key, _ in STANDOUTS}

    def follow(self, records: Sequence[Record], changed: Collection[int]) -> None:
        """Take these changes into account."""
        self.failed -= set(changed)
        self.failed |= {index for index in changed if records[index].get("status") == "failed"}
        for key, leaders in self._first.items():
            leading = [index for _, index in leaders]
            if changed and not set(leading).isdisjoint(changed):
                self._first[key] = _best(self._numbers(key))
            elif changed:
                self._first[key] = _best(self._numbers(key), {*leading, *changed})

    def of(self, key: str) -> list[tuple[float, int]]:
        """The largest values of a metric with their layers, at most two."""
        return self._first.get(key, [])


def _best(numbers: Sequence[float | None], places: Iterable[int] | None = None) -> list[tuple[float, int]]:
    known = enumerate(numbers) if places is None else ((place, numbers[place]) for place in places)
    values = ((value, -place) for place, value in known if value)
    return [(value, -negative) for value, negative in heapq.nlargest(2, values)]
