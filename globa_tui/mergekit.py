"""mergekit's YAML as a recipe, for the methods that both programs have. What cannot be translated is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from globa_tui.coefficients import RecipeError
from globa_tui.mergekit_settings import Place, check, overrides_of, places_of, value_at, varies
from globa_tui.mergekit_texts import KEYS, chat_template_of, tokenizer_of
from globa_tui.recipe import Recipe

_KEYS = KEYS | {"merge_method", "models", "slices", "base_model", "parameters", "dtype", "out_dtype"}
_WITHOUT_EFFECT = frozenset({"int8_mask"})
"""Parameters that change memory use in mergekit, and no number."""


@dataclass(frozen=True)
class _Method:
    """One of mergekit's methods: parameters of a model (with their defaults; None is required), and of the merge."""

    of_models: Mapping[str, Any]
    of_merge: Mapping[str, Any]
    needs_base: bool = True


METHODS: Mapping[str, _Method] = {
    "linear": _Method({"weight": None}, {"normalize": True}, needs_base=False),
    "task_arithmetic": _Method({"weight": None}, {"normalize": False, "lambda": 1.0}),
    "ties": _Method({"weight": None, "density": 1.0}, {"normalize": True, "lambda": 1.0}),
    "dare_linear": _Method({"weight": None, "density": 1.0}, {"normalize": False, "lambda": 1.0, "rescale": True}),
    "dare_ties": _Method({"weight": None, "density": 1.0}, {"normalize": False, "lambda": 1.0, "rescale": True}),
    "slerp": _Method({}, {"t": None}),
}


def is_mergekit(values: Mapping[str, Any]) -> bool:
    """Whether a YAML mapping is mergekit's."""
    return "merge_method" in values


def from_mergekit(
    values: Mapping[str, Any],
    where: str = "recipe",
    names: Callable[[str], Sequence[str]] | None = None,
    remark: Callable[[str], None] = lambda text: None,
) -> Recipe:
    """Translate mergekit's YAML.

    Every parameter is that of mergekit: a model's own, else the one of the slice, else of the whole file; numbers,
    gradients over the blocks, and filters. Computation is in float32, where mergekit computes in ``dtype``.

    Parameters
    ----------
    values
        The YAML.
    where
        What errors call it.
    names
        Tensor names of a model, asked for the base where a parameter varies over the model; from its headers when left
        out.
    remark
        Called with what mergekit takes and does not use: parameters of a model that are given to the base.

    Raises
    ------
    RecipeError
        Naming the key that has no counterpart here, or no effect where it stands.
    """
    try:
        return _translate(values, names or _names_in_headers, lambda text: remark(f"{where}: {text}"))
    except RecipeError as error:
        msg = f"{where}: {error}"
        raise RecipeError(msg) from None


def _translate(
    values: Mapping[str, Any], names: Callable[[str], Sequence[str]], remark: Callable[[str], None]
) -> Recipe:
    _refuse_unknown(values, _KEYS, "mergekit's key")
    name = values["merge_method"]
    if not isinstance(name, str) or name not in METHODS:
        msg = f"mergekit's method {name!r} is not read here; {', '.join(METHODS)} are"
        raise RecipeError(msg)
    method = METHODS[name]
    listed, shared, layers = _listed(values, name)
    base = values.get("base_model")
    models = [_model(entry, name, base) for entry in listed]
    if base is not None and not isinstance(base, str):
        msg = f"base_model: {base!r:.80} is not text"
        raise RecipeError(msg)
    if base is None and method.needs_base:
        msg = f"base_model: {name} needs one"
        raise RecipeError(msg)
    if name == "slerp":
        models = _slerped(models, base or "")
    elif method.needs_base:
        models = _without_base(models, base, remark)
    base = base if base is not None else models[0][0]
    params, overrides = _params(name, [model for model, _ in models], shared, [own for _, own in models], base, names)
    if layers is not None:
        _require_all_blocks(layers, base, names)
    return Recipe(
        base=base,
        fine_tuned=tuple(model for model, _ in models),
        method=name,
        params=params,
        param_overrides=overrides,
        dtype=values.get("out_dtype") or values.get("dtype"),
        chat_template=chat_template_of(values.get("chat_template"), [base, *(model for model, _ in models)]),
        **tokenizer_of(values, base, [model for model, _ in models]),
    )


def _listed(values: Mapping[str, Any], method: str) -> tuple[list[Any], dict[str, Any], int | None]:
    """The entries of the models, the parameters that all share, and how many blocks a slice names."""
    shared = _parameters(values.get("parameters"), method)
    if "slices" not in values:
        if not isinstance(values.get("models"), list) or not values["models"]:
            msg = "models: a list of models is needed"
            raise RecipeError(msg)
        return values["models"], shared, None
    slices = values["slices"]
    if "models" in values or not isinstance(slices, list) or len(slices) != 1 or not isinstance(slices[0], dict):
        msg = "slices: one slice over whole models is read here, instead of models; layers are not cut or stacked"
        raise RecipeError(msg)
    _refuse_unknown(slices[0], frozenset({"sources", "parameters"}), "mergekit's key of a slice")
    sources = slices[0].get("sources")
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources) or not sources:
        msg = "slices: a slice needs a list of sources"
        raise RecipeError(msg)
    ranges = [source.get("layer_range") for source in sources]
    whole = isinstance(ranges[0], list) and len(ranges[0]) == 2 and ranges[0][0] == 0 and isinstance(ranges[0][1], int)
    if not whole or any(one != ranges[0] for one in ranges):
        msg = f"slices: layer_range {ranges!r:.80}: only whole models are read here, all with [0, number of layers]"
        raise RecipeError(msg)
    entries = [{key: value for key, value in source.items() if key != "layer_range"} for source in sources]
    return entries, {**shared, **_parameters(slices[0].get("parameters"), method)}, ranges[0][1]


def _model(entry: Any, method: str, base: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        msg = f"models: {entry!r:.80} has no model: NAME"
        raise RecipeError(msg)
    _refuse_unknown(entry, frozenset({"model", "parameters"}), "mergekit's key of a model")
    name, plus, adapter = entry["model"].partition("+")
    if plus and name != base:
        msg = f"models: {entry['model']!r} is a model with an adapter; only base_model may have one, save it as a whole"
        raise RecipeError(msg)
    return adapter or name, _own_parameters(entry.get("parameters"), method, entry["model"])


def _without_base(
    models: list[tuple[str, dict[str, Any]]], base: Any, remark: Callable[[str], None]
) -> list[tuple[str, dict[str, Any]]]:
    """The models without the base, which mergekit lists among them: its task vector is zero, whatever its weight."""
    unused = [key for model, own in models if model == base for key in own]
    if unused:
        remark(f"base_model {base!r} has no task vector: no effect of its {' and '.join(unused)}, as in mergekit")
    return [(model, own) for model, own in models if model != base]


def _slerped(models: list[tuple[str, dict[str, Any]]], base: str) -> list[tuple[str, dict[str, Any]]]:
    """The two models, the base first: t counts from it."""
    others = [(name, own) for name, own in models if name != base]
    if len(others) != 1 or len(models) > 2:
        msg = f"models: slerp is between base_model and one other model, there are {len(others)} others"
        raise RecipeError(msg)
    return [(base, {}), *others]


def _params(
    method: str,
    models: Sequence[str],
    shared: Mapping[str, Any],
    own: Sequence[Mapping[str, Any]],
    base: str,
    names: Callable[[str], Sequence[str]],
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Parameters of our method, and overrides where they vary over the model."""
    if not any(varies(setting) for setting in (*shared.values(), *(v for one in own for v in one.values()))):
        return _at(Place("", None, 0.0), method, models, shared, own), ()
    places = places_of(names(base))
    found = {place.name: _at(place, method, models, shared, own) for place in places}
    first = found[places[0].name] if places else {}
    constant = {key: value for key, value in first.items() if all(one.get(key) == value for one in found.values())}
    rest = {name: {k: v for k, v in one.items() if k not in constant} for name, one in found.items()}
    return constant, overrides_of(rest, places) if any(rest.values()) else ()


def _at(
    place: Place, method: str, models: Sequence[str], shared: Mapping[str, Any], own: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Parameters for one tensor."""
    described = METHODS[method]
    params: dict[str, Any] = {"variant": "mergekit"}
    for key, default in described.of_models.items():
        values = []
        for model, one in zip(models, own, strict=True):
            given = value_at(one.get(key), place)
            given = given if given is not None else value_at(shared.get(key), place)
            values.append(_number(key, _required(key, given, default, f"models: {model!r}", place)))
        params[key] = values
    for key, default in described.of_merge.items():
        given = value_at(shared.get(key), place)
        value = _required(key, given, default, "parameters:", place)
        if key == "normalize" and method in ("ties", "dare_ties"):
            params["combine"] = "mean" if _flag(key, value) else "sum"
        elif key == "rescale":
            params["rescale"] = "norm" if _flag(key, value) else "none"
        elif key == "normalize":
            params["normalize"] = _flag(key, value)
        elif key in ("lambda", "t"):
            params["scale" if key == "lambda" else key] = _number(key, value)
    if params.get("normalize") and method == "linear" and abs(sum(params["weight"])) < 1e-8:
        msg = f"weight: weights that sum to {sum(params['weight']):g} cannot be normalized"
        raise RecipeError(msg)
    return params


def _required(key: str, given: Any, default: Any, who: str, place: Place) -> Any:
    if given is not None:
        return given
    if default is None:
        msg = f"{who} has no {key}{f' for {place.name}' if place.name else ''}"
        raise RecipeError(msg)
    return default


def _parameters(values: Any, method: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        msg = f"parameters: {values!r:.80} is not a mapping"
        raise RecipeError(msg)
    known = frozenset({*METHODS[method].of_models, *METHODS[method].of_merge})
    _refuse_unknown(values, known | _WITHOUT_EFFECT, f"mergekit's parameter of {method}")
    return {name: check(name, value) for name, value in values.items() if name not in _WITHOUT_EFFECT}


def _own_parameters(values: Any, method: str, model: str) -> dict[str, Any]:
    """Parameters of one model; mergekit does not look there for those of the whole merge."""
    shared = frozenset(METHODS[method].of_merge) | _WITHOUT_EFFECT
    misplaced = next((key for key in values if key in shared), None) if isinstance(values, dict) else None
    if misplaced is not None:
        msg = f"models: {model!r}: {misplaced} is of the whole merge and has no effect under one model"
        raise RecipeError(msg + "; move it to the parameters of the file")
    return _parameters(values, method)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool):
        msg = f"{name}: {value!r} is not a number"
        raise RecipeError(msg)
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        msg = f"{name}: {value!r:.80} is neither true nor false"
        raise RecipeError(msg)
    return value


def _names_in_headers(base: str) -> Sequence[str]:
    from store.checkpoints import open_checkpoint
    from store.errors import StoreError

    try:
        return list(open_checkpoint(base).tensors)
    except StoreError as error:
        msg = f"parameters that vary over the model need the names of its tensors: {error}"
        raise RecipeError(msg) from None


def _require_all_blocks(layers: int, base: str, names: Callable[[str], Sequence[str]]) -> None:
    blocks = {place.block for place in places_of(names(base))} - {None}
    if layers != len(blocks):
        msg = f"slices: layer_range [0, {layers}] of {len(blocks)} layers: only whole models are read here"
        raise RecipeError(msg)


def _refuse_unknown(values: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    unknown = [key for key in values if key not in known]
    if unknown:
        msg = f"{what} {unknown[0]!r} is not read here; {', '.join(sorted(known))} are"
        raise RecipeError(msg)
