"""mergekit's YAML as a recipe, for the methods that both programs have. What cannot be translated is an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from globa_tui.coefficients import RecipeError
from globa_tui.recipe import Recipe

METHODS = ("linear", "task_arithmetic")

_KEYS = frozenset({"merge_method", "models", "base_model", "parameters", "dtype", "out_dtype"})
_DEFAULT_NORMALIZE = {"linear": True, "task_arithmetic": False}
_PARAMETERS = {
    "linear": frozenset({"weight", "normalize"}),
    "task_arithmetic": frozenset({"weight", "normalize", "lambda"}),
}
_WITHOUT_EFFECT = frozenset({"int8_mask"})
"""Parameters that change memory use in mergekit, and no number."""


def is_mergekit(values: Mapping[str, Any]) -> bool:
    """Whether a YAML mapping is mergekit's."""
    return "merge_method" in values


def from_mergekit(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Translate mergekit's YAML.

    Weights are those of mergekit: each model's own, else the one of the whole file; ``normalize`` divides by
    their sum. Computation is in float32, where mergekit computes in ``dtype``.

    Raises
    ------
    RecipeError
        Naming the key that has no counterpart here.
    """
    try:
        return _translate(values)
    except RecipeError as error:
        msg = f"{where}: {error}"
        raise RecipeError(msg) from None


def _translate(values: Mapping[str, Any]) -> Recipe:
    _refuse_unknown(values, _KEYS, "mergekit's key")
    method = values["merge_method"]
    if method not in METHODS:
        msg = f"mergekit's method {method!r} is not read here; {' and '.join(METHODS)} are"
        raise RecipeError(msg)
    shared = _parameters(values.get("parameters"), method)
    models = _models(values.get("models"), method)
    base = values.get("base_model")
    if base is not None and not isinstance(base, str):
        msg = f"base_model: {base!r:.80} is not text"
        raise RecipeError(msg)
    if method == "task_arithmetic":
        if base is None:
            msg = "base_model: task_arithmetic needs one"
            raise RecipeError(msg)
        # mergekit lists the base among the models; its task vector is zero.
        models = [(name, own) for name, own in models if name != base]
    weights = [_weight(name, {**shared, **own}) for name, own in models]
    normalize = shared.get("normalize", _DEFAULT_NORMALIZE[method])
    if not isinstance(normalize, bool):
        msg = f"normalize: {normalize!r:.80} is neither true nor false"
        raise RecipeError(msg)
    if normalize:
        weights = _normalized(weights)
    elif method == "linear" and not math.isclose(sum(weights), 1.0, rel_tol=1e-6):
        msg = f"normalize: weights of a linear merge that sum to {sum(weights):g} instead of 1 are not read here"
        raise RecipeError(msg)
    scale = {"scale": _number("lambda", shared["lambda"])} if "lambda" in shared else {}
    return Recipe(
        # An average of models is the same seen from any of them.
        base=base if base is not None else models[0][0],
        fine_tuned=tuple(name for name, _ in models),
        method=method,
        params={"weight": weights, **scale},
        dtype=values.get("out_dtype") or values.get("dtype"),
    )


def _models(listed: Any, method: str) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(listed, list) or not listed:
        msg = "models: a list of models is needed (slices are not read here)"
        raise RecipeError(msg)
    models = []
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
            msg = f"models: {entry!r:.80} has no model: NAME"
            raise RecipeError(msg)
        _refuse_unknown(entry, frozenset({"model", "parameters"}), "mergekit's key of a model")
        if "+" in entry["model"]:
            msg = f"models: {entry['model']!r} is a model with an adapter; save it as a whole model first"
            raise RecipeError(msg)
        models.append((entry["model"], _parameters(entry.get("parameters"), method)))
    return models


def _parameters(values: Any, method: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        msg = f"parameters: {values!r:.80} is not a mapping"
        raise RecipeError(msg)
    _refuse_unknown(values, _PARAMETERS[method] | _WITHOUT_EFFECT, f"mergekit's parameter of {method}")
    return {name: value for name, value in values.items() if name not in _WITHOUT_EFFECT}


def _weight(model: str, parameters: Mapping[str, Any]) -> float:
    if "weight" not in parameters:
        msg = f"models: {model!r} has no weight"
        raise RecipeError(msg)
    return _number("weight", parameters["weight"])


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        msg = f"{name}: {value!r:.80} is not a number; lists over layers and filters are not read here"
        raise RecipeError(msg)
    return float(value)


def _normalized(weights: list[float]) -> list[float]:
    total = math.fsum(weights)
    if abs(total) < 1e-8:
        msg = f"weight: weights that sum to {total:g} cannot be normalized"
        raise RecipeError(msg)
    return [weight / total for weight in weights]


def _refuse_unknown(values: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    unknown = [key for key in values if key not in known]
    if unknown:
        msg = f"{what} {unknown[0]!r} is not read here; {', '.join(sorted(known))} are"
        raise RecipeError(msg)
