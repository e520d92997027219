"""The recipe that is kept beside a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from globa_tui.recipe import Recipe

RECIPES = "recipes"


def read_recipe(place: Path, run: Path) -> Recipe | None:
    """The recipe of that file, applied to `run`; None when there is none, or it is for another method.

    The run may have been moved since, or come from a stranger: the paths that the file names are not followed.
    """
    from globa_tui.recipe import Recipe

    if not place.exists():
        return None
    found = Recipe.read(place)
    if found.method != "globa":
        return None
    return Recipe(
        run=str(run),
        coefficients=found.coefficients,
        overrides=found.overrides,
        skip_weights=found.skip_weights,
        dtype=found.dtype,
        shard_size=found.shard_size,
    )


def write_recipe(place: Path, recipe: Recipe) -> None:
    """Write a recipe, whole or not at all."""
    from store import files

    files.make_folder(place.parent)
    files.write_atomic(place, recipe.to_yaml().encode(), durable=False)
