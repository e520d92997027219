"""Shades for numbers and types: a colour ramp where the terminal has colours for it, glyphs elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rich.color import Color
from rich.style import Style
from textual.app import App

LEVELS = 20
"""Steps of the ramp: few enough that equal neighbours become one run of cells."""
GLYPHS = ":-=+*o#%@"
"""The ramp of a terminal without enough colours, from low to high."""

# From dark blue over green to yellow, monotone in lightness, so that it can be read without seeing hues.
_ANCHORS = ((48, 18, 84), (56, 66, 128), (42, 112, 138), (38, 152, 130), (88, 192, 98), (180, 220, 60), (250, 236, 80))
_MIDDLE = 110.0


@dataclass(frozen=True, slots=True)
class Shade:
    """How one level is drawn."""

    style: Style
    glyph: str


def has_colours(app: App[object]) -> bool:
    """Whether the terminal shows a ramp of colours: more than 16 of them, and NO_COLOR is not set."""
    return not app.no_color and app.console.color_system not in ("standard", "windows")


@cache
def ramp(colours: bool) -> tuple[Shade, ...]:
    """The shades of the levels, from low to high."""
    if not colours:
        return tuple(Shade(Style(), GLYPHS[level * len(GLYPHS) // LEVELS]) for level in range(LEVELS))
    shades = []
    for level in range(LEVELS):
        place = level * (len(_ANCHORS) - 1) / (LEVELS - 1)
        first = min(int(place), len(_ANCHORS) - 2)
        parts = zip(_ANCHORS[first], _ANCHORS[first + 1], strict=True)
        shades.append(on((*(round(a + (b - a) * (place - first)) for a, b in parts),)))
    return tuple(shades)


def on(rgb: Sequence[int]) -> Shade:
    """An empty cell of that colour, whose text can be read."""
    red, green, blue = rgb
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    ink = Color.from_rgb(16, 16, 16) if light > _MIDDLE else Color.from_rgb(240, 240, 240)
    return Shade(Style(color=ink, bgcolor=Color.from_rgb(red, green, blue)), " ")


def level_of(value: float, low: float, high: float) -> int:
    """The level of a value between these ends."""
    if high <= low:
        return LEVELS // 2
    return min(max(int((value - low) / (high - low) * LEVELS), 0), LEVELS - 1)
