"""From the records of a run to what `show` prints: the table of layers, CSV rows, the JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any

from globa_tui.cli.tables import Cell, Table
from globa_tui.coefficients import PATTERNS

Record = Mapping[str, Any]

TYPES = PATTERNS[1:]
"""The six types, which partition the retained entries of the second task's matrix."""

SCHEMA = 1
_SIDES = ("left", "right")
_ALWAYS: Mapping[str, Any] = {
    "name": None,
    "shape": None,
    "kind": None,
    "block": None,
    "status": "pending",
    "error": None,
    "norm": None,
    "rank": None,
    "basis_rank": None,
    "clusters": None,
    "patterns": None,
    "inner": None,
    "orthogonality": None,
    "alignment": {},
    "conflict": {},
}


def document(run: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """The document of ``show --json``: every layer has every key of the schema, null where nothing is known yet."""
    return {"schema": SCHEMA, "run": dict(run), "layers": [_layer(record) for record in records]}


def document_text(document: Mapping[str, Any]) -> str:
    """The document as JSON with a line for each layer, so that it can be searched and compared line by line."""
    layers = ",\n".join(json.dumps(layer, allow_nan=False) for layer in document["layers"])
    head = "".join(
        f"{json.dumps(key)}:{json.dumps(value, allow_nan=False)},\n"
        for key, value in document.items()
        if key != "layers"
    )
    return f'{{{head}"layers":[\n{layers}\n]}}\n'


def _layer(record: Record) -> dict[str, Any]:
    known = {key: value for key, value in record.items() if key != "stored"}
    plain: dict[str, Any] = finite({**_ALWAYS, **known})
    return plain


def pair_words(pairs: Sequence[tuple[int, int]]) -> str:
    """Which task vector is compared with which, where the first pairs are those with the run's anchor."""
    others = [str(task) for anchor, task in pairs if anchor == pairs[0][0]]
    return f"task{'s' * (len(others) > 1)} {', '.join(others)} against task {pairs[0][0]}"


def layer_table(records: Sequence[Record], pairs: Sequence[tuple[int, int]]) -> Table:
    """One row for each layer that is analysed or waits for it, and a row for all of them together."""
    columns = ["layer", "shape", "ranks", "orth L", "orth R", *(f"{t} %" for t in TYPES), "clusters %", "status"]
    listed = [record for record in records if record["status"] != "skipped"]
    done = [record for record in listed if record["status"] == "done"]
    each = [_sums(record) for record in listed]
    sums = sum((one for one, record in zip(each, listed, strict=True) if record["status"] == "done"), _Sums())
    total = [f"{len(done)} of {len(listed)} layers, {pair_words(pairs)}", "", "", *sums.measures(), ""]
    rows = [[r["name"], _shape(r), _ranks(r), *s.measures(), r["status"]] for r, s in zip(listed, each, strict=True)]
    words = frozenset({"layer", "shape", "ranks", "status"})
    return Table(
        columns, rows, total, words, wraps=frozenset({"layer"}), gives_way=("shape", "clusters %", "ranks", "status")
    )


def csv_rows(records: Sequence[Record], tasks: int) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows of ``show --csv``; one rank and one norm for each of the `tasks` fine-tunes."""
    columns = ["name", "kind", "block", "role", "status", "rows", "columns", "norm_base"]
    columns += [f"norm_task_{task}" for task in range(1, tasks + 1)] + [f"rank_{task}" for task in range(1, tasks + 1)]
    columns += ["basis_rank_left", "basis_rank_right", "orthogonality_left", "orthogonality_right"]
    columns += [f"{what}_{pattern}" for pattern in PATTERNS for what in ("count", "energy")]
    columns += [f"clusters_{what}_{side}" for side in _SIDES for what in ("directions", "energy")] + ["error"]
    return columns, [_csv_row(record, tasks) for record in records]


def _csv_row(record: Record, tasks: int) -> list[Cell]:
    shape = list(record.get("shape") or ())
    row: list[Cell] = [record.get(key) for key in ("name", "kind", "block", "role", "status")]
    row += (shape + [None, None])[:2]
    row.append(_get(record, "norm", "base"))
    row += [_get(record, "norm", "task_vectors", task) for task in range(tasks)]
    row += [_get(record, "rank", task) for task in range(tasks)]
    row += [_get(record, "basis_rank", side) for side in range(2)]
    row += [_get(record, "orthogonality", side) for side in _SIDES]
    row += [_get(record, "patterns", pattern, what) for pattern in PATTERNS for what in ("count", "energy")]
    row += [_get(record, "clusters", side, what) for side in _SIDES for what in ("directions", "energy")]
    return [*row, record.get("error")]


def _get(record: Any, *path: str | int) -> Any:
    for key in path:
        try:
            record = record[key]
        except (KeyError, IndexError, TypeError):
            return None
    return None if isinstance(record, float) and not math.isfinite(record) else record


@dataclass(frozen=True, slots=True)
class _Sums:
    """Numerators and denominators of the shares in a row, over one layer or over many."""

    orthogonality: tuple[float, float] = (0.0, 0.0)
    """Of each side, times the smaller rank."""
    min_rank: int = 0
    energy: tuple[float, ...] = (0.0,) * len(TYPES)
    clustered: int = 0
    basis: int = 0

    def __add__(self, other: _Sums) -> _Sums:
        left, right = self.orthogonality
        more = other.orthogonality
        return _Sums(
            (left + more[0], right + more[1]),
            self.min_rank + other.min_rank,
            tuple(map(add, self.energy, other.energy)),
            self.clustered + other.clustered,
            self.basis + other.basis,
        )

    def measures(self) -> list[str]:
        """The cells of the row, from the orthogonality on."""
        retained = sum(self.energy)
        cells = [f"{side / self.min_rank:.3f}" if self.min_rank else "-" for side in self.orthogonality]
        cells += [f"{100 * energy / retained:.1f}" if retained else "-" for energy in self.energy]
        return [*cells, f"{100 * self.clustered / self.basis:.1f}" if self.basis else "-"]


def _sums(record: Record) -> _Sums:
    rank = min(record.get("rank") or [0])
    left, right = (rank * (_get(record, "orthogonality", side) or 0.0) for side in _SIDES)
    return _Sums(
        (left, right),
        rank,
        tuple(_get(record, "patterns", name, "energy") or 0.0 for name in TYPES),
        sum(_get(record, "clusters", side, "directions") or 0 for side in _SIDES),
        sum(record.get("basis_rank") or [0]),
    )


def _shape(record: Record) -> str:
    return "x".join(map(str, record.get("shape") or ()))


def _ranks(record: Record) -> str:
    return "/".join(map(str, record.get("rank") or ())) or "-"


def finite(value: Any) -> Any:
    """The value with NaN and infinities as null: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
