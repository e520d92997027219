"""The patterns of many layers at other thresholds η, from the grids that an analysis keeps with every layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from globa_tui.aggregate import By, pair_records

if TYPE_CHECKING:
    import numpy as np

    from store.run import Run

Grid = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass
class WhatIfTotal:
    """One ordered pair over the layers of a group, at every pair of thresholds of its grid; exact at each.

    `counts[i, j, p]` and `energies[i, j, p]`: η = grid[0][i] of the anchor, grid[1][j] of the task, pattern p in the
    order of `globa_tui.coefficients.PATTERNS`.
    """

    group: str | int | None
    anchor: int
    task: int
    grid: Grid
    counts: np.ndarray[Any, Any]
    energies: np.ndarray[Any, Any]
    layers: int = 1

    def add(self, cells: np.ndarray[Any, Any]) -> None:
        """Take one more layer."""
        self.counts += cells[0].astype("int64")
        self.energies += cells[1]
        self.layers += 1


@dataclass(frozen=True)
class WhatIf:
    """All totals of a run, and how many finished layers have no grid: a run of an older version."""

    totals: tuple[WhatIfTotal, ...]
    without: int


def what_if_name(anchor: int, task: int, run_anchor: int, tasks: int) -> str:
    """Name of the array of an ordered pair, all numbers from 1; see docs/store.md."""
    if anchor != run_anchor:
        return f"against/{anchor}/what_if/{task}"
    return "what_if" if tasks == 2 else f"what_if/{task}"


def what_if_totals(
    run: Run, records: Iterable[Mapping[str, Any]], by: By, anchor: int, tasks: int, pair: tuple[int, int] | None = None
) -> WhatIf:
    """Add up the grids of finished layers per group and pair, and per grid where layers have different ones.

    One read of every layer file: about a millisecond each.
    """
    totals: dict[tuple[Any, ...], WhatIfTotal] = {}
    without = 0
    for record in records:
        if record["status"] != "done":
            continue
        etas = (record.get("what_if") or {}).get("eta")
        if not etas:
            without += 1
            continue
        pairs = [(one["anchor"], one["task"]) for one in pair_records(record, anchor, tasks)]
        wanted = {both: what_if_name(*both, anchor, tasks) for both in pairs if pair in (None, both)}
        arrays = run.arrays(record["index"], wanted.values())
        group = "model" if by == "model" else record.get(by)
        for (one, two), name in wanted.items():
            grid = tuple(etas[one - 1]), tuple(etas[two - 1])
            cells, key = arrays[name], (group, one, two, grid)
            if key in totals:
                totals[key].add(cells)
            else:
                totals[key] = WhatIfTotal(group, one, two, grid, cells[0].astype("int64"), cells[1].copy())
    return WhatIf(tuple(totals.values()), without)
