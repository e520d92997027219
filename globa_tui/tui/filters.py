"""The filter language of the layer table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Record = Mapping[str, Any]
Keep = Callable[[Record], bool]


def compile_filter(text: str) -> Keep:
    """A test that a layer passes when every word of the text occurs in it, in any order and any case.

    A word is looked for in the name and the kind. `!failed`, `!done`, `!pending` and `!skipped` ask for a status,
    `block:3` and `block:3-7` for blocks.
    """
    tests = [_word(word) for word in text.split()]

    def keep(record: Record) -> bool:
        return all(test(record) for test in tests)

    return keep


def _word(word: str) -> Keep:
    lowered = word.lower()
    if lowered.startswith("!") and len(lowered) > 1:
        return lambda record: str(record.get("status", "")).startswith(lowered[1:])
    if lowered.startswith("block:"):
        return _blocks(lowered.removeprefix("block:"))
    return lambda record: lowered in str(record["name"]).lower() or lowered in str(record.get("kind", "")).lower()


def _blocks(text: str) -> Keep:
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last.isdecimal() or not last):
        return lambda record: True
    low, high = int(first), int(last or first)

    def keep(record: Record) -> bool:
        block = record.get("block")
        return isinstance(block, int) and low <= block <= high

    return keep
