"""``globa-tui show --what-if``: the patterns at other thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from globa_tui.cli.tables import Cell, Table
from globa_tui.coefficients import PATTERNS
from globa_tui.what_if import WhatIfTotal


def what_if_document(totals: Sequence[WhatIfTotal], by: str, own: Sequence[float]) -> list[dict[str, Any]]:
    """The totals for ``--json``; axes of `count` and `energy` are anchor's η, task's η, pattern."""
    return [
        {
            by: total.group,
            "layers": total.layers,
            "anchor": total.anchor,
            "task": total.task,
            "eta": [list(etas) for etas in total.grid],
            "own_eta": [own[total.anchor - 1], own[total.task - 1]],
            "patterns": list(PATTERNS),
            "count": total.counts.tolist(),
            "energy": total.energies.tolist(),
        }
        for total in totals
    ]


def what_if_table(totals: Sequence[WhatIfTotal], by: str, own: Sequence[float]) -> Table:
    """A row for each group, pair and pair of thresholds; the run's own ones are marked."""
    columns = [by, "layers", "pair", "eta", "own", "C1", "types", *(f"{name} %" for name in PATTERNS[1:])]
    rows = []
    for total, etas, counts, energies in _cells(totals):
        whole = sum(energies[1:])
        mark = "*" if etas == (own[total.anchor - 1], own[total.task - 1]) else ""
        head = ["-" if total.group is None else str(total.group), str(total.layers), f"{total.anchor}-{total.task}"]
        shares = [f"{100 * energy / whole:.1f}" if whole > 0 else "-" for energy in energies[1:]]
        rows.append([*head, f"{etas[0]:g},{etas[1]:g}", mark, f"{counts[0]:,}", f"{sum(counts[1:]):,}", *shares])
    return Table(columns, rows, words=frozenset({by, "own"}), wraps=frozenset({by}), gives_way=("layers",))


def what_if_csv(totals: Sequence[WhatIfTotal], by: str) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows of the same, counts and energies of every pattern in full."""
    columns = [by, "layers", "anchor", "task", "eta_anchor", "eta_task"]
    columns += [f"{what}_{pattern}" for pattern in PATTERNS for what in ("count", "energy")]
    rows: list[list[Cell]] = []
    for total, etas, counts, energies in _cells(totals):
        both = [cell for pair in zip(counts, energies, strict=True) for cell in pair]
        rows.append([total.group, total.layers, total.anchor, total.task, *etas, *both])
    return columns, rows


def _cells(
    totals: Sequence[WhatIfTotal],
) -> Iterator[tuple[WhatIfTotal, tuple[float, float], list[int], list[float]]]:
    for total in totals:
        for row, first in enumerate(total.grid[0]):
            for column, second in enumerate(total.grid[1]):
                yield total, (first, second), total.counts[row, column].tolist(), total.energies[row, column].tolist()
