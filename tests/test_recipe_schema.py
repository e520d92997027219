"""docs/recipe.schema.json is what the code reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from globa_tui.recipe import Recipe, RecipeError
from globa_tui.recipe_schema import recipe_schema

DOCS = Path(__file__).parents[1] / "docs" / "recipe.schema.json"
PLAIN: dict[str, Any] = {"base": "b", "fine_tuned": ["x", "y"]}


def fits(values: Any) -> bool:
    return jsonschema.Draft202012Validator(recipe_schema()).is_valid(values)


def test_the_documents_hold_the_schema_of_the_code() -> None:
    """`python -m globa_tui.recipe_schema > docs/recipe.schema.json` mends it."""
    assert json.loads(DOCS.read_text()) == recipe_schema()
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize(
    "values",
    [
        PLAIN,
        {"run": "r.globa", "run_hash": "ab"},
        {**PLAIN, "method": "dare-ties", "params": {"density": [0.5, 0.3], "variant": "peft", "normalize": True}},
        {**PLAIN, "overrides": ["mlp:D-=0", {"target": "blocks 0-3", "coefficients": {"A": 1}}]},
        {**PLAIN, "param_overrides": ["q_proj:t=0", {"target": "mlp", "params": {"weight": [1, 0]}}]},
        {**PLAIN, "preset": "a-only", "skip_weights": [0.5], "dtype": "float32", "shard_size": "1GB", "vocab": "ft2"},
        {**PLAIN, "settings": {"eta": [0.5]}, "tokenizer_from": "x", "chat_template": "{{ x }}", "format": 1},
    ],
)
def test_what_the_code_reads_fits_the_schema(values: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(values)
    assert fits(values)
    assert fits(recipe.to_dict())


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"base": "b"},
        {**PLAIN, "fine_tuned": []},
        {**PLAIN, "colour": 1},
        {**PLAIN, "format": 2},
        {**PLAIN, "coefficients": {"F": 1}},
        {**PLAIN, "dtype": "int8"},
        {**PLAIN, "vocab": "ft0"},
        {**PLAIN, "preset": "none"},
        {**PLAIN, "params": {"weight": {"a": 1}}},
        {**PLAIN, "param_overrides": [{"target": "mlp"}]},
        {**PLAIN, "base": 3},
    ],
)
def test_what_the_code_refuses_does_not_fit(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_dict(values)
    assert not fits(values)
