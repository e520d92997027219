"""Records as the interface can rely on them: a run may come from a stranger, or from another version.

What has the wrong form is left out, so that a screen shows a dash where a number should be, and lives on.

Of 20,000 records nearly all are whole. Looking at every value of them in Python takes a second; so many records are
looked at together, by functions that need no loop in Python, and those that are whole are taken as they are. Beside
each other stand, for everything below a key, how it is cleaned and how it is told that cleaning would change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from sys import float_info
from typing import Any, NamedTuple

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.columns import NUMBERS, PLAIN, all_finite, number

Record = dict[str, Any]

STATUSES = ("done", "pending", "failed", "skipped")
TOGETHER = 64
"""Records that are looked at together: no more than a processor keeps at hand."""
SIDES = ("left", "right")
_HEAD = ("name", "shape", "kind", "block", "role", "status", "error", "effect")
_PATTERN_KEYS = frozenset(PATTERNS)


def clean_records(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Records in which every value that the interface reads has the type that it expects, or is missing.

    Those that are whole are the ones given, not copies.
    """
    clean: list[Record] = []
    for start in range(0, len(records), TOGETHER):
        clean += _clean_together(records[start : start + TOGETHER])
    return clean


def _clean_together(records: Sequence[Mapping[str, Any]]) -> Iterable[Any]:
    # A layer that was left out has a reason, which is shown as its error.
    if _whole([record for record in records if not record.get("reason")]):
        return (clean_record(record) if record.get("reason") else record for record in records)
    return map(clean_record, records)


def clean_record(record: Mapping[str, Any]) -> Record:
    """A record in which every value that the interface reads has the type that it expects, or is missing."""
    shape = record.get("shape")
    status = record.get("status")
    clean: Record = {
        **record,
        "name": str(record["name"]),
        "shape": [dim for dim in shape if isinstance(dim, int)] if isinstance(shape, (list, tuple)) else [],
        "kind": str(record.get("kind") or ""),
        "block": record.get("block") if type(record.get("block")) is int else None,
        "role": str(record.get("role") or ""),
        "status": status if status in STATUSES else "failed",
        "error": _reason(record, status),
        "effect": record.get("effect") if type(record.get("effect")) is dict else None,
    }
    for key in FORMS.keys() & record.keys():
        if type(record[key]) in FORMS[key].kinds:
            clean[key] = FORMS[key].clean(record[key])
        else:
            del clean[key]
    return clean


def _whole(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether cleaning would change nothing that is read in any of these; none gives a reason."""
    if not records:
        return True
    if not _whole_heads(*([record.get(key) for record in records] for key in _HEAD)):
        return False
    for key, form in FORMS.items():
        values = [record[key] for record in records if key in record]
        if values and not (form.kinds.issuperset(map(type, values)) and form.whole(values)):
            return False
    return True


def _whole_heads(*heads: Sequence[Any]) -> bool:
    names, shapes, kinds, blocks, roles, states, errors, effects = heads
    return (
        {*map(type, names), *map(type, kinds), *map(type, roles)} == {str}
        and set(map(type, shapes)) == {list}
        and set(map(type, chain.from_iterable(shapes))) <= {int}
        and set(map(type, blocks)) <= {int, type(None)}
        and set(map(type, errors)) <= {str, type(None)}
        and "" not in errors
        and all(state in STATUSES for state in states)
        and set(map(type, effects)) <= {dict, type(None)}
    )


def _reason(record: Mapping[str, Any], status: object) -> str | None:
    if status not in STATUSES:
        return f"the record has an unknown status {status!r:.40}"
    said = record.get("error") or record.get("reason")
    return str(said) if said else None


class Form(NamedTuple):
    """What the interface expects below a key of a record."""

    kinds: frozenset[type]
    """Types that it may have; what has another is left out."""
    clean: Callable[[Any], Any] = lambda value: value
    """Leaves out what it cannot use of a value of such a type."""
    whole: Callable[[list[Any]], bool] = lambda values: True
    """Whether cleaning would change none of these values."""


def _numbers(values: list[Any]) -> list[float | None]:
    return list(map(number, values))


def _plain(values: Iterable[Any]) -> bool:
    """Whether these are numbers, or missing."""
    return all_finite(list(values), PLAIN)


def _plain_lists(lists: Iterable[Any]) -> bool:
    lists = list(lists)
    return set(map(type, lists)) <= {list} and _plain(chain.from_iterable(lists))


def _table(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _numbers(value) if type(value) is list else number(value) for key, value in values.items()}


def _whole_tables(tables: Iterable[Any]) -> bool:
    tables = list(tables)
    if not set(map(type, tables)) <= {dict}:
        return False
    values = list(chain.from_iterable(map(dict.values, tables)))
    lists = [value for value in values if type(value) is list]
    rest = [value for value in values if type(value) is not list] if lists else values
    return _plain_lists(lists) and _plain(rest)


def clean_pattern(cell: object) -> dict[str, Any]:
    """Count and energy of a pattern, 0 where there is none."""
    if type(cell) is not dict:
        return {"count": 0, "energy": 0.0}
    return {"count": int(number(cell.get("count")) or 0), "energy": max(number(cell.get("energy")) or 0.0, 0.0)}


def _patterns(patterns: dict[str, Any]) -> dict[str, Any]:
    return {name: clean_pattern(patterns.get(name)) for name in PATTERNS} if patterns else {}


def _whole_patterns(found: list[dict[str, Any]]) -> bool:
    if not all(patterns.keys() == _PATTERN_KEYS for patterns in found):
        return False
    cells = list(chain.from_iterable(map(dict.values, found)))
    try:
        counts, energies = zip(*map(itemgetter("count", "energy"), cells), strict=True)
    except (KeyError, TypeError, IndexError):
        return False
    return (
        set(map(type, cells)) == {dict}
        and set(map(type, counts)) == {int}
        and max(map(abs, counts)) <= float_info.max
        and all_finite(energies)
        and min(energies) >= 0
    )


def _angles(angles: dict[str, Any]) -> dict[str, list[float]]:
    found = {side: angles.get(side) for side in SIDES}
    return {side: [number(value) or 0 for value in each] if type(each) is list else [] for side, each in found.items()}


def _whole_angles(found: list[dict[str, Any]]) -> bool:
    lists = list(chain.from_iterable(map(dict.values, found)))
    return (
        all(angles.keys() == set(SIDES) for angles in found)
        and set(map(type, lists)) == {list}
        and all_finite(list(chain.from_iterable(lists)))
    )


_LIST, _DICT = frozenset({list}), frozenset({dict})
_LISTS = Form(_LIST, _numbers, _plain_lists)
_TABLES = Form(_DICT, _table, _whole_tables)
FORMS: Mapping[str, Form] = {
    **dict.fromkeys(("rank", "relative_size"), _LISTS),
    **dict.fromkeys(("norm", "inner"), _TABLES),
    "seconds": Form(NUMBERS, number, _plain),
    "patterns": Form(_DICT, _patterns, _whole_patterns),
    "angles": Form(_DICT, _angles, _whole_angles),
    # Only metrics read these, and they look at every number that they read.
    **dict.fromkeys(("orthogonality", "blocks", "rank_at", "clusters"), Form(_DICT)),
    **dict.fromkeys(("alignment", "conflict", "sum", "what_if", "union"), Form(_DICT)),
    **dict.fromkeys(("basis_rank", "retained", "stable_rank", "effective_rank", "knee"), Form(_LIST)),
}
