"""The recipe that is kept beside a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from globa_tui.recipe import Recipe

RECIPES = "recipes"


def read_recipe(place: Path, run: Path) -> Recipe | None:
    """The recipe of that file, applied to `run`; None when there is none, or it is for another method.

    The run may have been moved since, or come from a stranger: the paths that the file names are not followed.
    """
    from globa_tui.recipe import Recipe

    if place.is_symlink() or not place.is_file():
        return None
    found = Recipe.read(place)
    return _for_run(found, run) if found.method == "globa" else None


def open_recipe(place: Path, run: Path, layers: Iterable[Mapping[str, Any]]) -> tuple[Recipe, list[str]]:
    """The recipe of a file that a person named, applied to `run`, and what should be said about it.

    Raises
    ------
    RecipeError
        When it cannot be read, or is for another method than this interface edits.
    """
    from globa_tui.coefficients import RecipeError
    from globa_tui.recipe import Recipe

    found = Recipe.read(place)
    if found.method != "globa":
        msg = f"{place}: its method is {found.method}; here only globa has coefficients; use `globa-tui merge --recipe`"
        raise RecipeError(msg)
    recipe = _for_run(found, run)
    lost = [str(override.target) for override in recipe.unmatched(layers)]
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return recipe, [f"no layer here belongs to {lost[0]}{more}"] if lost else []


def _for_run(found: Recipe, run: Path) -> Recipe:
    from globa_tui.recipe import Recipe

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
