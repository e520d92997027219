"""Points in the unit square as text, so that any terminal shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rich.text import Text

Point = tuple[float, float]


def scatter(
    points: Mapping[int, Point],
    front: Collection[int],
    cursor: int | None,
    size: tuple[int, int],
    labels: tuple[str, str],
) -> Text:
    """Draw points by key, `o` on the Pareto front and `.` elsewhere, the one under the cursor as `#`.

    Parameters
    ----------
    points
        Shares of two tasks by the number of the candidate.
    front
        Numbers on the front; they cover others in the same cell.
    cursor
        The number that is marked.
    size
        Columns and lines, the frame and its labels within.
    labels
        Names of the tasks, across and up.
    """
    width, height = max(size[0] - 6, 4), max(size[1] - 3, 2)
    if not points:
        return Text("")
    spans = [_span([point[axis] for point in points.values()]) for axis in (0, 1)]
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    order = sorted(points, key=lambda number: (number == cursor, number in front))
    for number in order:
        across, up = (_place(points[number][axis], spans[axis], (width, height)[axis]) for axis in (0, 1))
        mark = ("#", "bold yellow") if number == cursor else ("o", "bold cyan") if number in front else (".", "dim")
        cells[across, up] = mark
    text = Text(f"{labels[1]}\n", no_wrap=True, overflow="ellipsis")
    for line in range(height - 1, -1, -1):
        edge = spans[1][1] if line == height - 1 else spans[1][0] if line == 0 else None
        text.append(f"{edge:4.2f} |" if edge is not None else "     |", "dim")
        for column in range(width):
            text.append(*cells.get((column, line), (" ", "")))
        text.append("\n")
    ends = f"{spans[0][0]:.2f}", f"{spans[0][1]:.2f} {labels[0]}"
    text.append(f"      {ends[0]}{ends[1].rjust(max(width - len(ends[0]), len(ends[1]) + 1))}", "dim")
    return text


def _span(values: Collection[float]) -> tuple[float, float]:
    """The ends of an axis: all values are inside, and it is never empty."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.05, high + 0.05)


def _place(value: float, span: tuple[float, float], cells: int) -> int:
    return min(cells - 1, int((value - span[0]) / (span[1] - span[0]) * cells))
