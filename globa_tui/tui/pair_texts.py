"""What the panes about a pair of fine-tunes say: legends of their pictures, alignment rank by rank."""

from __future__ import annotations

from rich.text import Text

from globa_tui.tui.ink import ramp
from globa_tui.tui.metric import decimal
from globa_tui.tui.pictures import CODES, Grid, PairPicture
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.picture import type_shades
from globa_tui.tui.words import bar


def types_text(found: PairPicture, colours: bool) -> Text:
    """What the colours of the type map mean."""
    if not found.types:
        return Text("No type map for this layer.", STYLES["dim"])
    text = Text()
    for code, shade in enumerate(type_shades(colours)):
        name = CODES[code] or "none"
        text.append("  " if colours else shade.glyph, shade.style)
        text.append("  " if shade.glyph == name else f" {name}  ")
    text.append(f"\nstrongest type of τ{found.task} per tile; outputs down, inputs across", STYLES["dim"])
    return text


def ranks_text(found: PairPicture) -> Text:
    """Alignment of the two fine-tunes rank by rank, as bars."""
    if not found.left:
        return Text("No alignment for this layer.", STYLES["dim"])
    text = Text()
    text.append(f"rank  {'outputs':<14}inputs\n", STYLES["dim"])
    for rank, (left, right) in enumerate(zip(found.left, found.right, strict=False), 1):
        text.append(f"{rank:>3} ")
        for value, style in ((left, "cyan"), (right, "magenta")):
            text.append(f" {decimal(value):>4} ")
            text.append(bar(value, 8), style)
        text.append("\n")
    text.append("|cos| of the r-th vectors: 0 orthogonal, 1 the same\n", STYLES["dim"])
    return text


def highest(grid: Grid) -> float:
    """The largest number of a grid, for the end of its scale."""
    return max((value for row in grid for value in row), default=0.0) or 1.0


def similarity_text(found: PairPicture, colours: bool) -> Text:
    """What the picture of the similarity shows, and its scale."""
    if not found.similarity:
        return Text()
    text = Text("(u·u')² + (v·v')², 0 to 2\n", STYLES["dim"])
    text.append(f"rank of τ1 down, of τ{found.task} across\n0 ", STYLES["dim"])
    for shade in ramp(colours)[::2]:
        text.append(shade.glyph, shade.style)
    text.append(f" {decimal(highest(found.similarity))}")
    return text
