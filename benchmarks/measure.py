"""Timing two things in turn, and the table that comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, and the goal it is held against."""

    what: str
    figure: float
    unit: str
    goal: str
    reached: bool | None
    detail: dict[str, Any]


def processor_seconds(function: Callable[[], object]) -> float:
    """Processor time of this process: other programs on the machine disturb it far less than the wall clock."""
    start = time.process_time()
    function()
    return time.process_time() - start


def in_turn(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of each, timed A B A B …, and the median of the pairwise ratios first / second."""
    pairs = [(processor_seconds(first), processor_seconds(second)) for _ in range(rounds)]
    ratio = median(one / two for one, two in pairs)
    return median(one for one, _ in pairs), median(two for _, two in pairs), ratio


def ratio_row(what: str, figure: float, goal: float, *, at_least: bool, **detail: Any) -> Row:
    """A ratio with its goal."""
    reached = figure >= goal if at_least else figure <= goal
    sign = "≥" if at_least else "≤"
    return Row(what, figure, "×", f"{sign} {goal:g}×", reached, detail)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | goal | reached |", "| --- | --- | --- | --- |"]
    for row in rows:
        reached = {True: "yes", False: "no", None: ""}[row.reached]
        lines.append(f"| {row.what} | {row.figure:.3g} {row.unit} | {row.goal} | {reached} |")
    return "\n".join(lines)
