"""The model card of a merged model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from globa_tui import __version__
from globa_tui.diagnostics import printable
from globa_tui.jobs.lineage import Source, code, common_licence, source_at, source_of
from globa_tui.recipe import Recipe
from store.checkpoints import Index

_CITATION = "Liu, Li, Zhou: GLOBA: Rethinking Parameter Conflicts in Model Merging, AAAI 2026"


def model_card(recipe: Recipe, index: Index, absent: Sequence[str] = ()) -> str:
    """A card in the Hub's form: sources with their licences, method, coefficients, and how to make the model again.

    `absent` are the places where fine-tunes were that the merge went without.
    """
    sources = [source_of(model) for model in (index.base, *index.fine_tuned)]
    sources += [source_at(Path(place)) for place in absent]
    roles = ["base", *(f"fine-tune {number}" for number in range(1, len(sources)))]
    lines = [
        *_head(sources),
        "# A merged model",
        "",
        f"Made by globa-tui {__version__} from a base and {len(sources) - 1} fine-tunes of it.",
        "",
        "| role | model | licence its card states |",
        "| --- | --- | --- |",
        *(
            f"| {role} | {code(source.name)} | {_licence(source)} |"
            for role, source in zip(roles, sources, strict=True)
        ),
        "",
        f"- method: {printable(recipe.method)}",
        "",
        *_numbers(recipe),
        *_vocabulary(index),
        "The licences of all sources apply to this model.",
        "`globa_recipe.yaml` makes it again: `globa-tui merge globa_recipe.yaml -o OUT`.",
        "",
    ]
    return "\n".join(lines)


def _head(sources: Sequence[Source]) -> list[str]:
    """The part that the Hub reads: only identifiers that were checked stand here."""
    licence = common_licence(sources)
    ids = [source.hub_id for source in sources if source.hub_id is not None]
    lines = ["---", "library_name: transformers"]
    lines += [f"license: {licence}"] if licence is not None else []
    lines += ["base_model:", *(f"- {name}" for name in ids), "base_model_relation: merge"] if ids else []
    return [*lines, "tags:", "- merge", "- globa-tui", "---"]


def _licence(source: Source) -> str:
    if source.licence is None:
        return "none found"
    return code(f"{source.licence} ({source.licence_name})" if source.licence_name else source.licence)


def _vocabulary(index: Index) -> list[str]:
    if index.vocabulary is None:
        return []
    found = [finding.message for finding in index.findings if finding.code == "vocabulary"]
    chosen = f"Tokens: {printable(index.vocabulary.choice)}, {index.vocabulary.size:,} rows."
    return [chosen, *(f"- {code(text)}" for text in found), ""]


def _numbers(recipe: Recipe) -> Sequence[str]:
    if recipe.method != "globa":
        params = [f"- {name}: {code(value)}" for name, value in recipe.params.items()]
        return [*params, *(f"- {code(override)}" for override in recipe.param_overrides), ""]
    lines = ["| target | coefficients |", "| --- | --- |", f"| model | {code(recipe.coefficients)} |"]
    lines += [f"| {code(override.target)} | {code(override.values)} |" for override in recipe.overrides]
    return [*lines, "", f"Method: {_CITATION}.", ""]
