"""Every number of one layer, with what it means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from globa_tui.cli.layers import TYPES, pair_words
from globa_tui.cli.tables import Table
from globa_tui.coefficients import PATTERNS
from globa_tui.quantities import QUANTITIES, quantity

_ELSEWHERE = frozenset({"index", "file", "stored", "effect", "pairs", "union", "patterns", "shape"})
_OF_PAIR = ("orthogonality", "blocks")
"""What the sheet says of each pair besides its patterns."""


def layer_sheet(record: Mapping[str, Any], pairs: Sequence[tuple[int, int]]) -> Table:
    """All numbers of a record, one to a line: what it is, its value, what it means."""
    size = " x ".join(map(str, record.get("shape") or ()))
    rows = [["shape", size, _meaning("shape")], ["pair", pair_words(pairs), _meaning("pair")]]
    rows += [[label, _text(value), _meaning(label)] for label, value in _flat(record) if value not in (None, {}, [])]
    rows += _pattern_rows("patterns", record.get("patterns") or {})
    for pair in record.get("pairs") or []:
        words = f"{pair.get('anchor', pairs[0][0])}-{pair.get('task')}"
        rows += [[f"pair {words}.{label}", _text(pair[label]), _meaning(label)] for label in _OF_PAIR if label in pair]
        rows += _pattern_rows(f"pair {words}", pair.get("patterns") or {})
    for union in record.get("union") or []:
        rows += _pattern_rows(f"task {union.get('task')} against all", union.get("patterns") or {})
    return Table(
        ["number", "value", "meaning"],
        rows,
        words=frozenset({"number", "value", "meaning"}),
        wraps=frozenset({"value", "meaning"}),
    )


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if not prefix and key in _ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _pattern_rows(label: str, patterns: Mapping[str, Any]) -> list[list[str]]:
    retained = sum(patterns[name]["energy"] for name in TYPES if name in patterns)
    rows: list[list[str]] = []
    for name in (name for name in PATTERNS if name in patterns):
        found = patterns[name]
        text = f"{found['count']:,} entries, energy {_text(found['energy'])}"
        if name in TYPES and retained:
            text += f", {100 * found['energy'] / retained:.1f} %"
        rows.append([f"{label}.{name}", text, QUANTITIES[f"patterns.{name}"].meaning])
    return rows


def _meaning(label: str) -> str:
    found = quantity(label)
    return found.meaning if found else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return str(value)
