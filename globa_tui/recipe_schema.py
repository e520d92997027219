"""The JSON schema of ``recipe.yaml``, made from the code that reads it: ``python -m globa_tui.recipe_schema``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from analysis.merge import METHODS
from globa_tui.coefficients import PATTERNS
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.presets import MERGE_PRESETS
from globa_tui.recipe import DTYPES, FORMAT, Recipe

_TEXT = {"type": ["string", "null"]}
_NUMBER = {"type": "number"}
_COEFFICIENTS = {
    "type": ["object", "null"],
    "properties": dict.fromkeys(PATTERNS, _NUMBER),
    "additionalProperties": False,
}


def recipe_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a recipe; names of parameters depend on the method and are checked by it."""
    known = {field.name for field in dataclasses.fields(Recipe)} | {"format", "preset"}
    properties = _properties()
    assert set(properties) == known, set(properties) ^ known
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "globa-tui recipe",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "anyOf": [
            {"required": ["run"], "properties": {"run": {"type": "string"}}},
            {
                "required": ["base", "fine_tuned"],
                "properties": {"base": {"type": "string"}, "fine_tuned": {"minItems": 1}},
            },
        ],
    }


def _properties() -> dict[str, dict[str, Any]]:
    methods = ["globa", *METHODS]
    return {
        "format": {"const": FORMAT, "description": "version of the format"},
        "run": {**_TEXT, "description": "analysis to merge from: a run folder or a packed file"},
        "run_hash": {**_TEXT, "description": "what the run was computed from; with another run the merge is refused"},
        "base": {**_TEXT, "description": "base checkpoint; may be left out when run names it"},
        "fine_tuned": {**_list({"type": "string"}), "description": "fine-tunes, in order; as for base"},
        "method": {
            "enum": [None, *methods, *(name.replace("_", "-") for name in methods if "_" in name)],
            "description": "method; globa when left out. Upper case is allowed too",
        },
        "settings": {
            "type": ["object", "null"],
            "properties": {field.name: {} for field in dataclasses.fields(AnalysisSettings)},
            "additionalProperties": False,
            "description": "analysis settings that differ from the defaults, for globa without a run",
        },
        "preset": {"enum": [None, *MERGE_PRESETS], "description": "coefficients to start from"},
        "coefficients": {**_COEFFICIENTS, "description": "coefficients of the overlap types, for globa"},
        "overrides": {
            **_list(_override("coefficients", _COEFFICIENTS, r"^.+:.+=")),
            "description": "coefficients for parts of the model: 'mlp:D-=0', or target and coefficients; nearest wins",
        },
        "params": {**_params(), "description": "parameters of the method; see docs/methods.md"},
        "param_overrides": {
            **_list(_override("params", _params(), r"^.+:.+=")),
            "description": "parameters for parts of the model: 'mlp:density=0.5', or target and params; nearest wins",
        },
        "skip_weights": {**_list(_NUMBER), "description": "weights of what is no matrix, for globa; 1/T when left out"},
        "dtype": {"enum": [None, *DTYPES], "description": "type of the result; the base's when left out"},
        "shard_size": {
            "anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1}, {"type": "string"}],
            "description": "most bytes in one file: 5GB, 500MB or a number",
        },
        "tokenizer_from": {**_TEXT, "description": "checkpoint whose tokenizer and chat template go with the result"},
        "chat_template": {**_TEXT, "description": "Jinja text of the chat template; the tokenizer's when left out"},
        "vocab": {
            "anyOf": [{"type": "null"}, {"type": "string", "pattern": "^(base|union|ft[1-9][0-9]*)$"}],
            "description": "whose tokens the result has where vocabularies differ",
        },
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": items}


def _params() -> dict[str, Any]:
    value = {"type": ["number", "string", "boolean"]}
    return {
        "type": ["object", "null"],
        "additionalProperties": {"anyOf": [value, {"type": "array", "items": value}]},
    }


def _override(key: str, values: dict[str, Any], text: str) -> dict[str, Any]:
    """One override: as on the command line, or a mapping with a target."""
    mapping = {
        "type": "object",
        "properties": {"target": {"type": "string"}, key: values},
        "required": ["target", key],
        "additionalProperties": False,
    }
    return {"anyOf": [{"type": "string", "pattern": text}, mapping]}


if __name__ == "__main__":
    print(json.dumps(recipe_schema(), indent=2))
