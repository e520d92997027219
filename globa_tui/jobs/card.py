"""The model card of a merged model."""

from __future__ import annotations

from collections.abc import Sequence

from globa_tui import __version__
from globa_tui.diagnostics import markup_safe, printable
from globa_tui.recipe import Recipe
from store.checkpoints import Checkpoint, Index

_CITATION = "Liu, Li, Zhou: GLOBA: Rethinking Parameter Conflicts in Model Merging, AAAI 2026"


def model_card(recipe: Recipe, index: Index) -> str:
    """A card in the Hub's form: sources, method, coefficients and how to make the model again."""
    lines = [
        "---",
        "library_name: transformers",
        "tags:",
        "- merge",
        "- globa-tui",
        "---",
        "# A merged model",
        "",
        f"Made by globa-tui {__version__} from a base and {len(index.fine_tuned)} fine-tunes of it.",
        "",
        f"- base: {_named(index.base)}",
        *(f"- fine-tune {number}: {_named(model)}" for number, model in enumerate(index.fine_tuned, 1)),
        f"- method: {printable(recipe.method)}",
        "",
        *_numbers(recipe),
        "The licences of the sources apply to this model.",
        "`globa_recipe.yaml` makes it again: `globa-tui merge globa_recipe.yaml -o OUT`.",
        "",
    ]
    return "\n".join(lines)


def _numbers(recipe: Recipe) -> Sequence[str]:
    if recipe.method != "globa":
        params = [f"- {printable(name)}: {printable(value)}" for name, value in recipe.params.items()]
        return [*params, *(f"- {printable(override)}" for override in recipe.param_overrides), ""]
    lines = ["| target | coefficients |", "| --- | --- |", f"| model | {_cell(recipe.coefficients)} |"]
    lines += [f"| {_cell(override.target)} | {_cell(override.values)} |" for override in recipe.overrides]
    return [*lines, "", f"Method: {_CITATION}.", ""]


def _named(checkpoint: Checkpoint) -> str:
    """The Hub id as the user wrote it, or the last part of a path: a card should not tell about its maker's disk."""
    return markup_safe(checkpoint.source if not checkpoint.path.exists() else checkpoint.path.name)


def _cell(value: object) -> str:
    return printable(value).replace("|", "\\|")
