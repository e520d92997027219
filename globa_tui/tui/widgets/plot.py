"""Line plots in braille: our small wrapper around textual-plotext, which is imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.containers import Container

if TYPE_CHECKING:
    from textual_plotext import PlotextPlot

COLOURS = ("cyan", "magenta", "yellow", "green")


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class PlotSpec:
    """A whole plot as values, so that an equal one is not drawn twice."""

    title: str
    x_label: str
    series: tuple[Series, ...]
    log_y: bool = False
    y_limits: tuple[float, float] | None = None


class Plot(Container):
    """Shows a `PlotSpec`."""

    DEFAULT_CSS = """
    Plot { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: PlotSpec | None = None
        self._plot: PlotextPlot | None = None

    def show(self, spec: PlotSpec) -> None:
        """Draw a plot, unless it is there already."""
        if spec == self._shown:
            return
        self._shown = spec
        if self._plot is None:
            from textual_plotext import PlotextPlot

            self._plot = PlotextPlot()
            self.mount(self._plot)
        draw(self._plot.plt, spec)
        self._plot.refresh()


def draw(plt: Any, spec: PlotSpec) -> None:
    """Give plotext the lines and round ticks."""
    plt.clear_figure()
    plt.title(spec.title)
    plt.xlabel(spec.x_label)
    from math import log10

    drawn = False
    low, high = float("inf"), float("-inf")
    for series, colour in zip(spec.series, COLOURS * len(spec.series), strict=False):
        points = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y > 0 or not spec.log_y]
        if not points:
            continue
        y = [log10(value) if spec.log_y else value for _, value in points]
        low, high = min(low, *y), max(high, *y)
        plt.plot([x for x, _ in points], y, label=series.label, color=colour, marker="braille")
        drawn = True
    if not drawn:
        return
    last = max(max(series.x) for series in spec.series if series.x)
    ticks = _round_ticks(last)
    plt.xticks(ticks, [f"{tick:g}" for tick in ticks])
    if spec.y_limits:
        plt.ylim(*spec.y_limits)
        low, high = spec.y_limits
    steps = [low + (high - low) * part / 4 for part in range(5)] if high > low else [low]
    plt.yticks(steps, [f"{10**step:.1e}" if spec.log_y else f"{step:.2f}" for step in steps])


def _round_ticks(last: float) -> list[float]:
    """About five round numbers from 1 to the end."""
    from math import ceil, log10

    step = max(last / 4, 1.0)
    magnitude = 10.0 ** int(log10(step))
    step = magnitude * next(factor for factor in (1, 2, 5, 10) if factor * magnitude >= step - 1e-9)
    return [1.0, *(step * n for n in range(1, ceil(last / step) + 1) if step * n <= last)]
