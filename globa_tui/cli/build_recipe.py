"""From the words of ``globa-tui merge`` to a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from globa_tui.coefficients import RecipeError, Target
from globa_tui.diagnostics import UsageError, say
from globa_tui.recipe import Recipe, parse_coef, parse_param_for
from globa_tui.values import parse_numbers, parse_size


@dataclass(frozen=True)
class MergeWords:
    """What was given on the command line; None or empty where nothing was."""

    coef: Sequence[str] = ()
    preset: str | None = None
    method: str | None = None
    param: Sequence[str] = ()
    skip_weights: str | None = None
    dtype: str | None = None
    shard_size: str | None = None
    tokenizer_from: str | None = None
    vocab: str | None = None
    base: str | None = None
    fine_tuned: Sequence[str] = ()


def recipe_of(sources: Sequence[str], words: MergeWords) -> Recipe:
    """The recipe that a command line means.

    One source that ends in ``.yaml`` or ``.yml`` is a recipe, any other single source is a run, more are checkpoints.

    Raises
    ------
    UsageError
        When the words do not go together.
    """
    if len(sources) > 1:
        recipe = Recipe(base=sources[0], fine_tuned=tuple(sources[1:]))
    elif Path(sources[0]).suffix.lower() in (".yaml", ".yml"):
        recipe = read_recipe(Path(sources[0]))
    else:
        _require_no_checkpoint(Path(sources[0]))
        recipe = Recipe(run=sources[0])
    if words.base is not None or words.fine_tuned:
        if recipe.run is None:
            msg = "--base and --fine-tuned say where the checkpoints of a run are now; there is no run here"
            raise UsageError(msg)
        recipe = dataclasses.replace(recipe, base=words.base, fine_tuned=tuple(words.fine_tuned))
    recipe = _with_method(recipe, words)
    recipe = _with_coefficients(recipe, words)
    changes: dict[str, Any] = {}
    if words.skip_weights is not None:
        changes["skip_weights"] = parse_numbers("--skip-weights", words.skip_weights)
    if words.dtype is not None:
        changes["dtype"] = words.dtype
    if words.shard_size is not None:
        changes["shard_size"] = parse_size(words.shard_size)
    if words.tokenizer_from is not None:
        changes["tokenizer_from"] = words.tokenizer_from
    if words.vocab is not None:
        changes["vocab"] = words.vocab
    return dataclasses.replace(recipe, **changes)


def _require_no_checkpoint(place: Path) -> None:
    if place.suffix == ".safetensors" or (place / "config.json").is_file():
        msg = f"{place}: is a checkpoint; name its fine-tunes too, as in globa-tui merge {place} FT1 FT2 -o OUT"
        raise UsageError(msg)


def read_recipe(path: Path) -> Recipe:
    """A recipe file: ours, or mergekit's YAML."""
    from globa_tui import safe_yaml
    from globa_tui.mergekit import from_mergekit, is_mergekit

    values = safe_yaml.load(safe_yaml.read(path), str(path))
    if not is_mergekit(values):
        return Recipe.from_dict(values, str(path))
    return from_mergekit(values, str(path), remark=lambda text: say(f"warning: {text}"))


def _with_method(recipe: Recipe, words: MergeWords) -> Recipe:
    """The recipe with its method and parameters; for any other method than ``globa`` a run only names checkpoints."""
    from globa_tui.jobs.settings import AnalysisSettings

    given = [parse_param_for(text) for text in words.param]
    whole = [override for override in given if override.target.scope == "model"]
    params = {name: value for override in whole for name, value in override.values.items()}
    parts = tuple(override for override in given if override.target.scope != "model")
    if len(params) < len(whole):
        msg = "--param: a parameter is given twice"
        raise UsageError(msg)
    named = dataclasses.replace(recipe, method=words.method) if words.method is not None else recipe
    if named.method != recipe.method:
        # Parameters of one method mean nothing to another.
        recipe = dataclasses.replace(named, params={}, param_overrides=(), settings={})
    if recipe.method == "globa":
        if parts:
            msg = f"--param {parts[0]}: parameters for parts of the model are for other methods; globa takes --coef"
            raise UsageError(msg)
        known = {field.name for field in dataclasses.fields(AnalysisSettings)} - {"device", "factors"}
        settings = {name: _as_setting(name, params.pop(name)) for name in list(params) if name in known}
        if settings and recipe.run is not None:
            name = next(iter(settings))
            msg = f"--param {name}: {recipe.run} was analysed with its own; merge from checkpoints to change it"
            raise UsageError(msg)
        if params:
            msg = f"--param {next(iter(params))}: globa has no such parameter; it takes {', '.join(sorted(known))}"
            raise UsageError(msg)
        AnalysisSettings.from_dict(settings)
        recipe = dataclasses.replace(recipe, settings={**recipe.settings, **settings})
    elif recipe.run is not None:
        recipe = dataclasses.replace(_from_run_sources(recipe), run=None)
    overrides = (*recipe.param_overrides, *parts)
    return dataclasses.replace(recipe, params={**recipe.params, **params}, param_overrides=overrides)


def _as_setting(name: str, value: Any) -> Any:
    from globa_tui.jobs.settings import AnalysisSettings

    if isinstance(getattr(AnalysisSettings, name), tuple):
        return value if isinstance(value, list) else [value]
    return value


def _from_run_sources(recipe: Recipe) -> Recipe:
    from globa_tui.jobs.sources import sources_of
    from store.run import Run

    assert recipe.run is not None
    base, fine_tuned = sources_of(Run.open(recipe.run).manifest)
    return dataclasses.replace(recipe, base=recipe.base or base, fine_tuned=recipe.fine_tuned or fine_tuned)


def _with_coefficients(recipe: Recipe, words: MergeWords) -> Recipe:
    from globa_tui.presets import merge_preset

    if recipe.method != "globa" and (words.coef or words.preset):
        option = "--coef" if words.coef else "--preset"
        msg = f"{option} is for the method globa; {recipe.method} takes --param NAME=VALUE"
        raise UsageError(msg)
    if words.preset is not None:
        recipe = dataclasses.replace(recipe, coefficients=merge_preset(words.preset).coefficients)
    for text in words.coef:
        recipe = recipe.with_override(parse_coef(text))
    return recipe


def refuse_unmatched(recipe: Recipe, layers: Sequence[Mapping[str, Any]]) -> None:
    """Refuse coefficients for something that the model does not have: most likely it is misspelt.

    Raises
    ------
    RecipeError
        Naming the first such target, and the kinds there are.
    """
    # What is tied to another tensor is merged with it, as that one is.
    unmatched = recipe.unmatched(layer for layer in layers if layer.get("tied_to") is None)
    if unmatched:
        msg = f"{unmatched[0]}: {_why_nothing(unmatched[0].target, layers)}"
        raise RecipeError(msg)


def _why_nothing(target: Target, layers: Sequence[Mapping[str, Any]]) -> str:
    """Why no layer belongs to a target, and what may be meant."""
    names = [str(layer["name"]) for layer in layers]
    tied = next((layer for layer in layers if target.matches(layer)), None)
    if tied is not None:
        return f"{tied['name']} is tied to {tied['tied_to']} and merged with it; set it there"
    if f"{target.name}[0]" in names:
        return f"{target.name} is a stack of matrices; name one of them, such as {target.name}[0], or its kind"
    near = get_close_matches(target.name, names, 1, cutoff=0.8) if target.scope == "layer" else []
    if near:
        return f"there is no such layer; is {near[0]} meant?"
    kinds = sorted({str(layer["kind"]) for layer in layers if layer.get("role") == "matrix"})
    return f"no layer is meant by that; the kinds are {', '.join(kinds)}"
