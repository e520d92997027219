"""Arrays of a pair of fine-tunes, reduced to what a terminal can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Grid = tuple[tuple[float, ...], ...]

CODES = ("", "A", "B", "C", "D+", "D-", "E", "C1")
"""Pattern of each code of a type map; 0 is none, and the last stands where only the first fine-tune has entries."""
RANKS = 64
"""Most ranks that are shown of an alignment."""
ARRAYS = ("type_map", "alignment/left", "alignment/right", "alignment/similarity")
MOST = 256


@dataclass(frozen=True, slots=True)
class PairPicture:
    """What the arrays of one pair say; empty where an array is missing or has another form."""

    task: int
    """Number of the other fine-tune."""
    types: Grid = ()
    """Codes of the strongest type per tile, outputs down and inputs across."""
    left: tuple[float, ...] = ()
    """|cos| of the r-th left singular vectors."""
    right: tuple[float, ...] = ()
    similarity: Grid = ()
    """Of rank a of the first and b of the other fine-tune, from 0 to 2."""


def array_names(present: set[str], anchor: int, tasks: int) -> dict[int, dict[str, str]]:
    """For every pair the names under which its arrays are stored."""
    found: dict[int, dict[str, str]] = {}
    for task in range(1, tasks + 1):
        names = {name: name if tasks == 2 else f"{name}/{task}" for name in ARRAYS}
        mine = {name: stored for name, stored in names.items() if stored in present}
        if task != anchor and mine:
            found[task] = mine
    return found


def pair_picture(task: int, arrays: Mapping[str, Any]) -> PairPicture:
    """Reduce the arrays of one pair, known by their plain names."""
    return PairPicture(
        task,
        _grid(arrays.get("type_map"), len(CODES) - 1),
        _line(arrays.get("alignment/left")),
        _line(arrays.get("alignment/right")),
        _grid(arrays.get("alignment/similarity"), 2),
    )


def _line(values: Any) -> tuple[float, ...]:
    import numpy as np

    line = None if values is None else np.asarray(values)
    if line is None or line.ndim != 1 or line.dtype.kind not in "fiu":
        return ()
    return tuple(np.clip(np.nan_to_num(line[:RANKS].astype(float)), 0.0, 1.0).tolist())


def _grid(values: Any, most: float) -> Grid:
    import numpy as np

    grid = None if values is None else np.asarray(values)
    if grid is None or grid.ndim != 2 or not grid.size or grid.dtype.kind not in "fiub":
        return ()
    clean = np.clip(np.nan_to_num(grid[:MOST, :MOST].astype(float)), 0.0, most)
    return tuple(map(tuple, clean.tolist()))


def resampled(grid: Grid, rows: int, columns: int, *, largest: bool = True) -> Grid:
    """A grid of at most that size: of the cells that fall together the largest, or the one that occurs most.

    A small grid is enlarged by whole numbers, the same in both directions.
    """
    height, width = len(grid), len(grid[0]) if grid else 0
    if not height or not width or rows < 1 or columns < 1:
        return ()
    scale = max(min(rows // height, columns // width), 1)
    down, across = _cuts(height, min(height * scale, rows), scale), _cuts(width, min(width * scale, columns), scale)
    return tuple(
        tuple(_joined([grid[y][x] for y in range(*tall) for x in range(*wide)], largest) for wide in across)
        for tall in down
    )


def _cuts(size: int, wanted: int, scale: int) -> list[tuple[int, int]]:
    if scale > 1:
        return [(place // scale, place // scale + 1) for place in range(wanted)]
    return [
        (place * size // wanted, max((place + 1) * size // wanted, place * size // wanted + 1))
        for place in range(wanted)
    ]


def _joined(values: list[float], largest: bool) -> float:
    if largest or len(values) == 1:
        return max(values)
    some = [value for value in values if value] or values
    return max(sorted(set(some)), key=some.count)
