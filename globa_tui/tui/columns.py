"""How numbers are read from records: of one layer, or of all of them at once.

For 20,000 layers a column takes a few milliseconds, where looking at one record after the other takes eighty; all that
time the thread that paints waits for the interpreter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from sys import float_info
from typing import Any

Record = Mapping[str, Any]
Values = tuple[float | None, ...]

NUMBERS: frozenset[type] = frozenset({int, float})
PLAIN: frozenset[type] = NUMBERS | {type(None)}


def number(value: Any) -> float | None:
    """A finite number, or None. By exact type, as JSON gives them."""
    return value if type(value) in NUMBERS and abs(value) <= float_info.max else None


def largest(values: Iterable[float | None]) -> float | None:
    """The largest of those that are known."""
    known = [value for value in values if value is not None]
    return max(known) if known else None


def all_finite(values: Collection[Any], kinds: frozenset[type] = NUMBERS) -> bool:
    """Whether these are finite numbers, without a loop in Python: a sum that is finite has finite parts.

    Parameters
    ----------
    values : collection
        Of anything.
    kinds : frozenset of type
        With the type of None in it, values may be missing.
    """
    found = set(map(type, values))
    if not found <= kinds:
        return False
    try:
        return isfinite(sum(values if found <= NUMBERS else filter(None, values)))
    except OverflowError:
        return False


class Reader(ABC):
    """Reads a metric from records: a value, or one per fine-tune."""

    @abstractmethod
    def __call__(self, record: Record) -> Values:
        """The values of one layer, None for those that are not known."""

    def column(self, records: Sequence[Record]) -> list[float | None]:
        """The largest value of each layer."""
        return [largest(self(record)) for record in records]


@dataclass(frozen=True, slots=True)
class Lookup(Reader):
    """Reads what lies at a path of a record: a number, or a list of them."""

    keys: tuple[str, ...]

    def __call__(self, record: Record) -> Values:
        value: Any = record
        for key in self.keys:
            value = value.get(key) if isinstance(value, dict) else None
        values = value if isinstance(value, list) and value else (value,)
        return tuple(map(number, values))

    def column(self, records: Sequence[Record]) -> list[float | None]:
        found: list[Any] = list(records)
        for key in self.keys:
            found = [each.get(key) if isinstance(each, dict) else None for each in found]
        if all_finite(found, PLAIN):
            return found
        return [_largest(each) if type(each) is list else number(each) for each in found]


def _largest(values: list[Any]) -> float | None:
    return max(values) if values and all_finite(values) else largest(map(number, values))


@dataclass(frozen=True, slots=True)
class Single(Reader):
    """Computes one number from a record."""

    compute: Callable[[Record], float | None]

    def __call__(self, record: Record) -> Values:
        return (self.compute(record),)

    def column(self, records: Sequence[Record]) -> list[float | None]:
        return list(map(self.compute, records))


@dataclass(frozen=True, slots=True)
class Several(Reader):
    """Computes a number for each fine-tune from a record."""

    compute: Callable[[Record], Iterable[float | None]]

    def __call__(self, record: Record) -> Values:
        return tuple(self.compute(record)) or (None,)
