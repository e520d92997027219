"""The model as a grid: one row per kind of module, one column per block, one cell per matrix or group of experts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from globa_tui.diagnostics import printable

Record = Mapping[str, Any]
Cell = tuple[int, ...]
"""Places of the layers in the list of records: none, one, or all experts of a block."""

ORDER = ("q_proj", "k_proj", "v_proj", "qkv", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj")
OUTSIDE = "no block"
WRAP = 16
"""Least number of cells in a row of tensors outside the blocks."""
_EXPERT = re.compile(r"(?<=experts\.)\d+(?=\.|$)")
_STACKED = re.compile(r"(\w+)\[\d+\]$")


@dataclass(frozen=True, slots=True)
class MapRow:
    """One kind of module over all blocks."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class BlockMap:
    """The grid; every row has one cell per column, perhaps an empty one."""

    blocks: tuple[int, ...]
    """Numbers of the blocks, the columns."""
    rows: tuple[MapRow, ...]
    """The rows of tensors outside all blocks come last."""

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells that are not empty, row by row."""
        return [cell for row in self.rows for cell in row.cells if cell]

    @cached_property
    def columns(self) -> int:
        """Cells of the longest row."""
        return max((len(row.cells) for row in self.rows), default=0)

    @cached_property
    def experts(self) -> int:
        """Layers in the largest cell; 1 where there are no experts."""
        return max(map(len, self.cells), default=0)

    @cached_property
    def numbers(self) -> dict[int, int]:
        """The number of a cell in `cells`, by its first layer."""
        return {cell[0]: number for number, cell in enumerate(self.cells)}

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of each of `cells` over its layers, without those whose value is nan; nan when all are."""
        layers, starts = self._layers
        if not len(layers):
            return np.zeros(0)
        chosen = values[layers]
        known = ~np.isnan(chosen)
        with np.errstate(invalid="ignore"):
            return np.add.reduceat(np.where(known, chosen, 0.0), starts) / np.add.reduceat(known, starts, dtype=float)

    @cached_property
    def _layers(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The layers of all cells one after the other, and where those of each cell begin."""
        sizes = np.array([0, *map(len, self.cells)], dtype=np.intp)
        return np.array(list(chain.from_iterable(self.cells)), dtype=np.intp), np.cumsum(sizes)[:-1]

    def place_of(self, index: int) -> tuple[int, int] | None:
        """Row and column of a layer."""
        return self._places.get(index)

    def cell_of(self, index: int) -> Cell:
        """All layers of the cell that a layer is in; none when it is no matrix."""
        place = self.place_of(index)
        return self.rows[place[0]].cells[place[1]] if place else ()

    @cached_property
    def _places(self) -> dict[int, tuple[int, int]]:
        return {
            index: (number, column)
            for number, row in enumerate(self.rows)
            for column, cell in enumerate(row.cells)
            for index in cell
        }


def block_map(records: Sequence[Record]) -> BlockMap:
    """Arrange the matrices of a run."""
    inside: dict[str, dict[int, list[int]]] = {}
    kinds: dict[str, str] = {}
    outside: list[int] = []
    for place, record in enumerate(records):
        if record["role"] != "matrix":
            continue
        block = record.get("block")
        if block is None:
            outside.append(place)
            continue
        path = module_path(str(record["name"]), block)
        kinds.setdefault(path, str(record.get("kind") or ""))
        inside.setdefault(path, {}).setdefault(block, []).append(place)
    blocks = tuple(sorted({block for cells in inside.values() for block in cells}))
    stacks = {stack: place for place, stack in reversed(list(enumerate(map(_stack, inside))))}
    ordered = sorted(inside, key=lambda path: (stacks[_stack(path)], *_order(path, kinds[path])))
    labels = short_labels(ordered)
    rows = [MapRow(labels[path], tuple(tuple(inside[path].get(block, ())) for block in blocks)) for path in ordered]
    return BlockMap(blocks, (*rows, *_outside_rows(outside, len(blocks))))


def module_path(name: str, block: int) -> str:
    """A name with its block and its expert replaced by a star, which all blocks share."""
    before, mark, after = name.partition(f".{block}.")
    path = f"{before}.*.{after}" if mark else name
    return _EXPERT.sub("*", _STACKED.sub(r"*.\1", path.removesuffix(".weight")))


def short_labels(paths: Sequence[str]) -> dict[str, str]:
    """The last part of every path; where several share it, the parts in front that tell them apart."""
    return {path: printable(label) for path, label in _told_apart([(path, path.split(".")) for path in paths]).items()}


def _told_apart(paths: list[tuple[str, list[str]]], seen: str = "") -> dict[str, str]:
    groups: dict[str, list[tuple[str, list[str]]]] = {}
    for path, parts in paths:
        groups.setdefault(parts[-1], []).append((path, parts))
    found: dict[str, str] = {}
    for last, members in groups.items():
        if len(members) == 1:
            found[members[0][0]] = f"{seen}{last}"
            continue
        for word, some in _split(members).items():
            if len(some) == len(members):
                found |= {path: path for path, _ in some}
            else:
                found |= _told_apart(some, f"{seen}{word} " if word else seen)
    return found


def _split(members: list[tuple[str, list[str]]]) -> dict[str, list[tuple[str, list[str]]]]:
    """Members by the first part in which they differ, that part and what lies before it cut off."""
    shortest = min(len(parts) for _, parts in members)
    differing = [n for n in range(shortest - 1) if len({parts[n] for _, parts in members}) > 1]
    telling = [n for n in differing if not all(parts[n].isdecimal() for _, parts in members)]
    place = (telling or differing or [shortest - 1])[0]
    groups: dict[str, list[tuple[str, list[str]]]] = {}
    for path, parts in members:
        word = parts[place] if place < len(parts) - 1 else ""
        groups.setdefault(word, []).append((path, parts[place + 1 :] or parts[-1:]))
    return groups


def _stack(path: str) -> str:
    return path.partition(".*.")[0]


def _order(path: str, kind: str) -> tuple[bool, int]:
    """Attention before the feed-forward, in the order of the computation."""
    return "expert" in path, ORDER.index(kind) if kind in ORDER else len(ORDER)


def _outside_rows(places: Iterable[int], columns: int) -> list[MapRow]:
    cells = [(place,) for place in places]
    width = max(columns, WRAP)
    return [
        MapRow(OUTSIDE if not start else "", tuple(cells[start : start + width]))
        for start in range(0, len(cells), width)
    ]
