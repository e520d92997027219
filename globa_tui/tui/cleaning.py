"""Records as the interface can rely on them: a run may come from a stranger, or from another version.

What has the wrong form is left out, so that a screen shows a dash where a number should be, and lives on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from sys import float_info
from typing import Any

from globa_tui.coefficients import PATTERNS

STATUSES = ("done", "pending", "failed", "skipped")
_LISTS = ("relative_size", "rank", "basis_rank", "retained", "stable_rank", "effective_rank")
_TABLES = ("norm", "orthogonality", "blocks", "inner")
_NESTED = ("patterns", "angles", "rank_at", "clusters", "knee")
_UNREAD = frozenset({"decomposition", "spectrum_complete", "accuracy", "frozen", "stored", "pairs", "reason", "dtype"})
"""Keys that no metric reads."""
_BY_PATH = ("alignment", "conflict", "sum", "what_if", "union")
"""Tables of which every number is looked at where it is read; to look at all of them takes half of the time here."""
_KNOWN = _UNREAD.union(_LISTS, _TABLES, _NESTED, _BY_PATH, ("seconds",))
_NUMBERS = frozenset({int, float})
DEPTH = 3
SIDES = ("left", "right")


def clean_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record in which every value that the interface reads has the type that it expects, or is missing."""
    shape = record.get("shape")
    status = record.get("status")
    clean: dict[str, Any] = {
        "index": record["index"],
        "name": str(record["name"]),
        "shape": [dim for dim in shape if isinstance(dim, int)] if isinstance(shape, (list, tuple)) else [],
        "kind": str(record.get("kind") or ""),
        "block": record.get("block") if type(record.get("block")) is int else None,
        "role": str(record.get("role") or ""),
        "status": status if status in STATUSES else "failed",
        "error": _reason(record, status),
        "file": record.get("file"),
        "effect": record.get("effect") if type(record.get("effect")) is dict else None,
    }
    clean |= {key: _numbers(record[key]) for key in _LISTS if type(record.get(key)) is list}
    clean |= {key: _table(record[key]) for key in _TABLES if type(record.get(key)) is dict}
    seconds = _number(record.get("seconds"))
    clean |= {"seconds": seconds} if seconds is not None else {}
    clean |= _nested(record)
    clean |= {key: record[key] for key in _BY_PATH if type(record.get(key)) is dict}
    # Whatever else a metric may read, as tables and lists of numbers.
    return clean | {key: _any(record[key]) for key in record.keys() - clean.keys() - _KNOWN}


def _reason(record: Mapping[str, Any], status: object) -> str | None:
    if status not in STATUSES:
        return f"the record has an unknown status {status!r:.40}"
    said = record.get("error") or record.get("reason")
    return str(said) if said else None


def _nested(record: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    patterns = record.get("patterns")
    if type(patterns) is dict and patterns:
        nested["patterns"] = {name: clean_pattern(patterns.get(name)) for name in PATTERNS}
    for key in ("angles", "rank_at"):
        if type(record.get(key)) is dict:
            nested[key] = {name: _numbers(each) for name, each in record[key].items() if type(each) is list}
    if "angles" in nested:
        nested["angles"] = {side: [value or 0 for value in nested["angles"].get(side, [])] for side in SIDES}
    if type(record.get("clusters")) is dict:
        sides = {side: record["clusters"].get(side) for side in SIDES}
        nested["clusters"] = {side: _table(each) for side, each in sides.items() if type(each) is dict}
    if type(record.get("knee")) is list:
        nested["knee"] = [_table(point) for point in record["knee"] if type(point) is dict]
    return nested


def _any(value: Any, depth: int = 0) -> Any:
    kind = type(value)
    if (kind is dict and _finite(value.values())) or (kind is list and _finite(value)):
        return value
    if depth < DEPTH and type(value) is dict:
        return {key: _any(each, depth + 1) for key, each in value.items()}
    if depth < DEPTH and type(value) is list:
        return [_any(each, depth + 1) for each in value]
    return _number(value)


def clean_pattern(cell: object) -> dict[str, Any]:
    """Count and energy of a pattern, 0 where there is none."""
    if type(cell) is dict and type(cell.get("count")) is int and _is_energy(cell.get("energy")):
        return cell
    if type(cell) is not dict:
        return {"count": 0, "energy": 0.0}
    return {"count": int(_number(cell.get("count")) or 0), "energy": max(_number(cell.get("energy")) or 0.0, 0.0)}


def _is_energy(value: object) -> bool:
    return type(value) is float and 0.0 <= value <= float_info.max


def _table(values: dict[str, Any]) -> dict[str, Any]:
    if _finite(values.values()):
        return values
    return {key: _numbers(value) if type(value) is list else _number(value) for key, value in values.items()}


def _numbers(values: list[Any]) -> list[float | None]:
    if _finite(values):
        return values
    return [_number(value) for value in values]


def _finite(values: Collection[Any]) -> bool:
    """Whether these are finite numbers, which need no copy; without a loop in Python, as nearly all lists are such."""
    if not _NUMBERS.issuperset(map(type, values)):
        return False
    try:
        return isfinite(sum(values))
    except OverflowError:
        return False


def _number(value: Any) -> float | None:
    # By exact type, as JSON gives them: of 20,000 records this looks at two million values.
    return value if type(value) in _NUMBERS and abs(value) <= float_info.max else None
