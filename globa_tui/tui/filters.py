"""The filter language of the layer table: words that must all hold."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from globa_tui.coefficients import GROUPS
from globa_tui.diagnostics import printable
from globa_tui.tui.metric import Metric
from globa_tui.tui.metrics import METRICS

Record = Mapping[str, Any]
Keep = Callable[[Record], bool]

STATUSES = ("done", "failed", "pending", "skipped", "marked")
SYNTAX: tuple[tuple[str, str], ...] = (
    ("mlp down", "every word occurs in the name or the kind"),
    ("qproj", "a word that occurs nowhere: its letters in this order, as in q_proj"),
    ("D->10", "a number of the layer: > >= < <= =, in the unit in which it is shown (here %)"),
    ("rank>50", "of a number per fine-tune the largest one counts"),
    ("block:10-20", "blocks; also block:3, and block:10- to the end"),
    ("kind:q_proj", "kinds that begin so; also kind:mlp, kind:attn"),
    ("!failed", "a status: " + " ".join(f"!{status}" for status in STATUSES)),
)
"""Examples and what they mean; help and the documentation show them, and a test reads them all."""

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_COMPARISON = re.compile(r"(?P<name>[^<>=]*)(?P<sign>[<>]=?|=)(?P<number>.*)")
_BLOCKS = re.compile(r"(?P<first>\d{1,9})(?P<dash>-(?P<last>\d{1,9})?)?")


class FilterError(ValueError):
    """A filter cannot be read; the message names the word and the cure."""


@dataclass(frozen=True)
class Filter:
    """A test that a layer passes when every word of a text holds."""

    tests: tuple[Keep, ...] = ()

    def __call__(self, record: Record) -> bool:
        """Whether the layer passes."""
        return all(test(record) for test in self.tests)


def compile_filter(text: str, records: Sequence[Record] = (), marked: Collection[int] = ()) -> Filter:
    """Read a filter.

    Parameters
    ----------
    text : str
        Words with spaces between them; `SYNTAX` shows all forms.
    records : sequence of mapping
        All layers: a plain word that occurs in none of them is taken as letters in this order.
    marked : collection of int
        The `index` of the layers that `!marked` keeps.

    Raises
    ------
    FilterError
        In one line, when a word cannot be read.
    """
    return Filter(tuple(_word(word, records, marked) for word in text.split()))


def metric_names() -> str:
    """Names of all numbers that a filter can ask for."""
    return " ".join(metric.short for metric in METRICS)


def _word(word: str, records: Sequence[Record], marked: Collection[int]) -> Keep:
    lowered = word.lower()
    if lowered.startswith("!"):
        return _status(lowered[1:], marked)
    if lowered.startswith("block:"):
        return _blocks(word, lowered.removeprefix("block:"))
    if lowered.startswith("kind:"):
        return _kind(word, lowered.removeprefix("kind:"))
    if comparison := _COMPARISON.fullmatch(word):
        return _comparison(word, comparison)
    return _name(lowered, records)


def _status(name: str, marked: Collection[int]) -> Keep:
    fitting = [status for status in STATUSES if name and status.startswith(name)]
    if not fitting:
        msg = f"!{printable(name)}: the statuses are " + " ".join(f"!{status}" for status in STATUSES)
        raise FilterError(msg)
    status = fitting[0]
    if status == "marked":
        return lambda record: record["index"] in marked
    return lambda record: record.get("status") == status


def _blocks(word: str, text: str) -> Keep:
    found = _BLOCKS.fullmatch(text)
    if not found:
        msg = f"{printable(word)}: write block:3, block:3-7 or block:3-"
        raise FilterError(msg)
    first = int(found["first"])
    last = int(found["last"] or (10**9 if found["dash"] else first))
    if first > last:
        msg = f"{printable(word)}: the first block comes after the last"
        raise FilterError(msg)

    def keep(record: Record) -> bool:
        block = record.get("block")
        return isinstance(block, int) and first <= block <= last

    return keep


def _kind(word: str, text: str) -> Keep:
    if not text:
        msg = f"{printable(word)}: write a kind behind it, such as kind:q_proj or kind:mlp"
        raise FilterError(msg)
    members = GROUPS.get(text, frozenset[str]())

    def keep(record: Record) -> bool:
        kind = str(record.get("kind", "")).lower()
        return kind in members or kind.startswith(text)

    return keep


def _comparison(word: str, found: re.Match[str]) -> Keep:
    metric = _metric(word, found["name"])
    sign, text = found["sign"], found["number"].removesuffix("%")
    try:
        wanted = float(text)
    except ValueError:
        msg = f"{printable(word)}: write a number behind {sign}, such as {metric.short}{sign}10"
        raise FilterError(msg) from None
    compare = _COMPARE.get(sign)
    factor = metric.factor

    def keep(record: Record) -> bool:
        value = metric.value(record)
        if value is None:
            return False
        # What is shown as 10.0 equals 10.
        return compare(value * factor, wanted) if compare else metric.format(value) == metric.format(wanted / factor)

    return keep


def _metric(word: str, name: str) -> Metric:
    names = {key.lower(): metric for metric in METRICS for key in (metric.key, metric.short)}
    metric = names.get(name.lower())
    if metric is None:
        near = difflib.get_close_matches(name.lower(), names, 1, 0.5)
        hint = f"did you mean {names[near[0]].short}?" if near else f"the numbers are {metric_names()}"
        msg = f"{printable(word)}: no number {printable(name)!r}; {hint}"
        raise FilterError(msg)
    return metric


def _name(word: str, records: Sequence[Record]) -> Keep:
    if any(_holds(record, word) for record in records) or not records:
        return lambda record: _holds(record, word)
    letters = re.compile(".*?".join(map(re.escape, word)))
    return lambda record: letters.search(str(record["name"]).lower()) is not None


def _holds(record: Record, word: str) -> bool:
    return word in str(record["name"]).lower() or word in str(record.get("kind", "")).lower()
