"""Screens of the interface, one per file; here those that are imported when they are first shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.command import Provider

    from globa_tui.tui.screens.base import InspectScreen


def map_screen() -> InspectScreen:
    """The grid of blocks and modules."""
    from globa_tui.tui.screens.map import MapScreen

    return MapScreen()


def layers_screen() -> InspectScreen:
    """The table of layers."""
    from globa_tui.tui.screens.layers import LayersScreen

    return LayersScreen()


def recipe_screen() -> InspectScreen:
    """Patterns and coefficients."""
    from globa_tui.tui.screens.recipe import RecipeScreen

    return RecipeScreen()


def job_screen() -> InspectScreen:
    """The jobs of the run."""
    from globa_tui.tui.screens.job import JobScreen

    return JobScreen()


def sweep_screen() -> InspectScreen:
    """What sweeps tried."""
    from globa_tui.tui.screens.sweep import SweepScreen

    return SweepScreen()


def layer_commands() -> type[Provider]:
    """What the palette finds besides actions."""
    from globa_tui.tui.commands import LayerCommands

    return LayerCommands


AHEAD: dict[str, Callable[[], InspectScreen]] = {
    "layers": layers_screen,
    "map": map_screen,
    "recipe": recipe_screen,
    "job": job_screen,
    "sweep": sweep_screen,
}
"""Screens besides the first, in the order in which they are built ahead."""
WITH_LAYERS = ("layers", "overview", "map")
"""Modes whose screens open the page of a layer."""
