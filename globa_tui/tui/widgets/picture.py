"""A grid of numbers as a picture: two of them per character where there are colours, a glyph each elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from globa_tui.tui.ink import Shade, has_colours, level_of, on, ramp
from globa_tui.tui.pictures import CODES, Grid, resampled

UPPER_HALF = "▀"
TYPE_LETTERS = "·ABC+-E1"
"""Letters of the codes of a type map in one colour."""
_TYPE_COLOURS = (
    (30, 30, 38),  # nothing
    (70, 150, 90),  # A
    (60, 130, 200),  # B
    (110, 90, 200),  # C
    (235, 200, 60),  # D+
    (225, 70, 60),  # D-
    (235, 140, 190),  # E
    (110, 110, 120),  # only the first fine-tune
)


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """A picture as values, so that an equal one is not drawn twice."""

    grid: Grid
    high: float | None = None
    """Number with the lightest colour, the darkest is 0; None for codes of types."""


class Picture(Widget):
    """Shows a `PictureSpec` as large as whole multiples allow."""

    DEFAULT_CSS = """
    Picture { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._spec = PictureSpec(())
        self._drawn: Grid = ()

    def show(self, spec: PictureSpec) -> None:
        """Draw a picture, unless it is there already."""
        if spec != self._spec:
            self._spec = spec
            self._resample()

    def on_resize(self) -> None:
        """Fit the picture to the room."""
        self._resample()

    def notify_style_update(self) -> None:
        """Repaint in new colours."""
        super().notify_style_update()
        self.refresh()

    def _resample(self) -> None:
        width, height = self.size
        rows = 2 * height if has_colours(self.app) else height
        self._drawn = resampled(self._spec.grid, rows, width, largest=self._spec.high is not None)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line of characters."""
        base = self.rich_style
        cells = self._half_blocks(y, base) if has_colours(self.app) else self._glyphs(y, base)
        segments = [
            Segment("".join(text for text, _ in run), style) for style, run in groupby(cells, key=lambda cell: cell[1])
        ]
        # Every segment has a style: Textual's monochrome filter fails on one without.
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _half_blocks(self, y: int, base: Style) -> list[tuple[str, Style]]:
        upper = self._drawn[2 * y] if 2 * y < len(self._drawn) else ()
        lower = self._drawn[2 * y + 1] if 2 * y + 1 < len(self._drawn) else ()
        shades, cells = shades_of(self._spec, colours=True), []
        for place, value in enumerate(upper):
            top = shades[self._level(value)].style.bgcolor
            bottom = shades[self._level(lower[place])].style.bgcolor if lower else base.bgcolor
            same = top == bottom
            cells.append((" " if same else UPPER_HALF, base + Style(color=top, bgcolor=bottom)))
        return cells

    def _glyphs(self, y: int, base: Style) -> list[tuple[str, Style]]:
        shades = shades_of(self._spec, colours=False)
        row = self._drawn[y] if y < len(self._drawn) else ()
        return [(shades[self._level(value)].glyph, base + shades[self._level(value)].style) for value in row]

    def _level(self, value: float) -> int:
        return int(value) if self._spec.high is None else level_of(value, 0.0, self._spec.high)


def shades_of(spec: PictureSpec, *, colours: bool) -> Sequence[Shade]:
    """How the levels, or the codes, of a picture are drawn."""
    if spec.high is not None:
        return ramp(colours)
    return type_shades(colours)


def type_shades(colours: bool) -> Sequence[Shade]:
    """How the codes of a type map are drawn, in their order."""
    if colours:
        return [on(colour) for colour in _TYPE_COLOURS]
    return [Shade(Style(), letter) for letter in TYPE_LETTERS[: len(CODES)]]
