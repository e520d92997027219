"""``globa-tui show --by``: numbers of many layers together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from globa_tui.aggregate import By, aggregate
from globa_tui.cli.tables import Cell, Table
from globa_tui.coefficients import PATTERNS

TYPES = PATTERNS[1:]
Pair = tuple[int, int]


def groups(
    records: Sequence[Mapping[str, Any]], by: By, anchor: int, tasks: int, pair: Pair | None
) -> list[dict[str, Any]]:
    """The groups, with only the pair that was asked for, and then without the unions."""
    found = aggregate(records, by, anchor, tasks)
    for group in found if pair else ():
        group["pairs"] = [one for one in group["pairs"] if pair == (one["anchor"], one["task"])]
        group.pop("union", None)
    return found


def group_table(found: Sequence[Mapping[str, Any]], by: By) -> Table:
    """A row for each group and ordered pair, and for each task against all others, of which only types are known.

    Two numbers with a slash are the anchor's and the task's.
    """
    columns = [by, "layers", "pair", "size %", "knee %", "orth L", "orth R", "both %", "L %", "R %", "none %"]
    columns += [*(f"{name} %" for name in TYPES), "change", "sign %", "cosine", "SAI"]
    return Table(
        columns,
        [[_name(group[by]), str(group["layers"]), *_row(group, pair)] for group, pair in _rows(found)],
        words=frozenset({by}),
        wraps=frozenset({by}),
        gives_way=("L %", "R %", "both %", "change", "sign %", "size %", "SAI", "orth R", "orth L"),
    )


def _rows(found: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for group in found:
        for pair in (*group["pairs"], *group.get("union", ())):
            yield group, pair


def _name(value: object) -> str:
    return "-" if value is None else str(value)


def _row(group: Mapping[str, Any], pair: Mapping[str, Any]) -> list[str]:
    types = [_percent(pair["patterns"][name]["share"]) for name in TYPES]
    if "anchor" not in pair:
        return [f"all-{pair['task']}", *["-"] * 8, *types, *["-"] * 4]
    both = pair["anchor"] - 1, pair["task"] - 1
    conflict, index = pair["conflict"] or {}, (group["sum"] or {}).get("sai")
    cells = [f"{pair['anchor']}-{pair['task']}"]
    cells += ["/".join(_percent(group[name][task]) for task in both) for name in ("relative_size", "knee_energy")]
    cells += [_number(pair["orthogonality"][side]) for side in ("left", "right")]
    cells += [_percent(pair["blocks"][name]) for name in ("both", "left", "right", "none")]
    cells += [*types, _number(conflict.get("magnitude_change")), _percent(conflict.get("sign_change"))]
    cells += [_number(conflict.get("cosine"))]
    return [*cells, "/".join(_signed(index[task]) for task in both) if index else "-"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def group_csv(found: Sequence[Mapping[str, Any]], by: By) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows of the same, every number of a pair in full."""
    rows = [
        {by: group[by], "layers": group["layers"], "anchor": "all", **dict(_flat(pair))} for group, pair in _rows(found)
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[row.get(name) for name in columns] for row in rows]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Cell]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}_")
        elif isinstance(value, list):
            yield from ((f"{prefix}{key}_{number}", each) for number, each in enumerate(value, 1))
        else:
            yield f"{prefix}{key}", value


def group_remarks(found: Sequence[Mapping[str, Any]], by: By) -> list[str]:
    """What the knees of the whole model suggest, where it was asked for."""
    if by != "model" or not found:
        return []
    knees = found[0]["knee_energy"]
    if None in knees:
        return []
    return [f"the knees of the energy curves suggest --eta {','.join(f'{knee:.2f}' for knee in knees)}"]
