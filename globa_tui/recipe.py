"""A recipe: everything that decides the bytes of a merge, as one immutable value and as YAML."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from globa_tui import safe_yaml
from globa_tui.coefficients import (
    PATTERNS,
    Coefficients,
    Override,
    RecipeError,
    Target,
    number,
    parse_coef,
)
from globa_tui.jobs.settings import AnalysisSettings, SettingsError, require_vocab
from globa_tui.params import ParamOverride, checked_params, override_of, parse_param_for, resolve_params
from globa_tui.presets import DEFAULT_PRESET, merge_preset
from globa_tui.values import format_size, is_number, param_text, parse_param, parse_size

FORMAT = 1
DEFAULT_SHARD_SIZE = 5_000_000_000
_TEXTS = ("run", "run_hash", "base", "dtype", "tokenizer_from", "chat_template", "vocab")
DTYPES = ("float32", "float16", "bfloat16", "float64")

__all__ = [
    "DEFAULT_SHARD_SIZE",
    "DTYPES",
    "FORMAT",
    "PATTERNS",
    "Coefficients",
    "Override",
    "ParamOverride",
    "Recipe",
    "RecipeError",
    "Target",
    "format_size",
    "parse_coef",
    "parse_param",
    "parse_param_for",
    "parse_size",
]


@dataclass(frozen=True)
class Recipe:
    """What to merge, how, and in which form to write it."""

    run: str | None = None
    """Analysis to merge from: a run folder or a packed file."""
    run_hash: str | None = None
    """What the run was computed from, see `run_hash`; with another run the merge is refused. None takes any."""
    base: str | None = None
    """Base checkpoint; may be left out when `run` names it."""
    fine_tuned: tuple[str, ...] = ()
    """Fine-tunes, in order; may be left out when `run` names them."""
    method: str = "globa"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Analysis settings that differ from the defaults, for ``globa`` without a run."""
    coefficients: Coefficients = field(default_factory=lambda: merge_preset(DEFAULT_PRESET).coefficients)
    """One coefficient for every pattern."""
    overrides: tuple[Override, ...] = ()
    """Coefficients for parts of the model, in the order given."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the method, for methods other than ``globa``."""
    param_overrides: tuple[ParamOverride, ...] = ()
    """Parameters of the method for parts of the model, in the order given."""
    skip_weights: tuple[float, ...] = ()
    """Weights of the task vectors in what is not a matrix; empty means 1/T each, one value serves all."""
    dtype: str | None = None
    """Data type of the result; None is the base's, tensor by tensor."""
    shard_size: int = DEFAULT_SHARD_SIZE
    """Most bytes in one file of weights."""
    tokenizer_from: str | None = None
    """Checkpoint whose tokenizer and chat template go with the result; None is the base's."""
    chat_template: str | None = None
    """Jinja text of the chat template; None is that of the tokenizer."""
    vocab: str | None = None
    """Whose tokens the result has where vocabularies differ: base, union, or ft1, ft2 and so on; None is the run's, or
    the base's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", _plain(self.settings))
        object.__setattr__(self, "params", _plain(self.params))
        object.__setattr__(self, "method", self.method.replace("-", "_").lower())
        plain = (ParamOverride(o.target, _plain(o.values)) for o in self.param_overrides)
        object.__setattr__(self, "param_overrides", tuple(plain))
        missing = [name for name in PATTERNS if name not in self.coefficients]
        if missing:
            msg = f"coefficients: no value for {', '.join(missing)}; give every pattern one (0 leaves it out)"
            raise RecipeError(msg)
        if self.run is None and (self.base is None or not self.fine_tuned):
            msg = "a recipe needs `run`, or `base` and at least one of `fine_tuned`"
            raise RecipeError(msg)
        if self.run is not None and self.settings:
            msg = f"settings: {self.run} was analysed with its own; merge from `base` and `fine_tuned` to change them"
            raise RecipeError(msg)
        if not self.method:
            msg = "method: give the name of a merge method"
            raise RecipeError(msg)
        if self.dtype is not None and self.dtype not in DTYPES:
            msg = f"dtype: {self.dtype!r} is not one of {', '.join(DTYPES)}"
            raise RecipeError(msg)
        if self.vocab is not None:
            require_vocab(self.vocab)
        if self.shard_size < 1:
            msg = f"shard_size: {self.shard_size} is not a positive number of bytes"
            raise RecipeError(msg)
        if self.fine_tuned and len(self.skip_weights) > 1:
            self.skip_weights_for(len(self.fine_tuned))

    def skip_weights_for(self, tasks: int) -> tuple[float, ...]:
        """One weight for each fine-tune of what is not a matrix."""
        weights = self.skip_weights or (1.0 / tasks,)
        if len(weights) not in (1, tasks):
            msg = f"skip_weights: {len(weights)} values for {tasks} fine-tunes; give one for all or one for each"
            raise RecipeError(msg)
        return weights if len(weights) == tasks else weights * tasks

    def resolve(self, layer: Mapping[str, Any]) -> dict[str, float]:
        """The coefficients of one layer, given its ``name``, ``kind`` and ``block``.

        Nearest wins, pattern by pattern: layer, then blocks (the smaller range first), kind, group, model; of
        two equally near the later one.
        """
        resolved = dict(self.coefficients)
        near = [override for override in self.overrides if override.target.matches(layer)]
        for override in sorted(near, key=lambda override: override.target.nearness()):
            resolved.update(override.values)
        return resolved

    def resolve_params(self, layer: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the method for one layer, given its ``name``, ``kind`` and ``block``; nearest wins."""
        return resolve_params(self.params, self.param_overrides, layer)

    def unmatched(self, layers: Iterable[Mapping[str, Any]]) -> list[Override | ParamOverride]:
        """The overrides that no layer belongs to: most likely misspelt."""
        overrides: list[Override | ParamOverride] = [*self.overrides, *self.param_overrides]
        known = list(layers) if overrides else []
        return [o for o in overrides if not any(o.target.matches(layer) for layer in known)]

    def with_values(self, target: Target, values: Mapping[str, float | None]) -> Recipe:
        """Set coefficients of one target, or with None let them be inherited again."""
        if target.scope == "model":
            return dataclasses.replace(self, coefficients=self.coefficients.updated(values))
        before = [override for override in self.overrides if override.target == target]
        merged = Coefficients()
        for override in before:
            merged = merged.updated(override.values)
        merged = merged.updated(values)
        others = tuple(override for override in self.overrides if override.target != target)
        own = (Override(target, merged),) if merged else ()
        return dataclasses.replace(self, overrides=others + own)

    def with_override(self, override: Override) -> Recipe:
        """Add an override; one for the whole model changes the coefficients themselves."""
        if override.target.scope == "model":
            return self.with_values(override.target, override.values)
        return dataclasses.replace(self, overrides=(*self.overrides, override))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in the YAML; coefficients at their defaults only where the method uses them."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "run": self.run,
            "run_hash": self.run_hash,
            "base": self.base,
            "fine_tuned": list(self.fine_tuned),
            "method": self.method,
            "settings": _plain(self.settings),
            "coefficients": dict(self.coefficients),
            "overrides": [{"target": str(o.target), "coefficients": dict(o.values)} for o in self.overrides],
            "params": _plain(self.params),
            "param_overrides": [{"target": str(o.target), "params": _plain(o.values)} for o in self.param_overrides],
            "skip_weights": list(self.skip_weights),
            "dtype": self.dtype,
            "shard_size": format_size(self.shard_size),
            "tokenizer_from": self.tokenizer_from,
            "chat_template": self.chat_template,
            "vocab": self.vocab,
        }
        if self.method != "globa" and self.coefficients == merge_preset(DEFAULT_PRESET).coefficients:
            del values["coefficients"]
        return values

    def to_yaml(self) -> str:
        """The recipe as YAML, which `from_yaml` reads back to an equal recipe."""
        return safe_yaml.dump(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "recipe") -> Recipe:
        """Read plain values; an unknown key is an error that names it."""
        return _read(values, where)

    @classmethod
    def from_yaml(cls, text: str, where: str = "recipe") -> Recipe:
        """Read a recipe; anything unknown or unsafe in it is a `RecipeError` of one line."""
        return cls.from_dict(safe_yaml.load(text, where), where)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe file."""
        return cls.from_yaml(safe_yaml.read(path), str(path))

    def equivalent_command(self, out: str = "OUT") -> str:
        """The ``globa-tui merge`` line that does the same."""
        sources = [self.run] if self.run is not None else [self.base or "", *self.fine_tuned]
        words = ["globa-tui", "merge", *sources, "-o", out]
        if self.method == "globa":
            changed = str(self.coefficients)
            words += [] if self.coefficients == merge_preset(DEFAULT_PRESET).coefficients else ["--coef", changed]
            for override in self.overrides:
                words += ["--coef", str(override)]
        else:
            words += ["--method", self.method]
        for name, value in [*self.params.items(), *(self.settings.items() if self.run is None else ())]:
            words += ["--param", f"{name}={param_text(value)}"]
        for word in (word for override in self.param_overrides for word in override.words()):
            words += ["--param", word]
        if self.skip_weights:
            words += ["--skip-weights", ",".join(map(number, self.skip_weights))]
        words += ["--dtype", self.dtype] if self.dtype else []
        words += ["--tokenizer-from", self.tokenizer_from] if self.tokenizer_from else []
        words += ["--vocab", self.vocab] if self.vocab else []
        words += ["--shard-size", format_size(self.shard_size)] if self.shard_size != DEFAULT_SHARD_SIZE else []
        return shlex.join(words)


def _read(values: Mapping[str, Any], where: str) -> Recipe:
    allowed = {"format", "preset", *(f.name for f in dataclasses.fields(Recipe))}
    unknown = [key for key in values if key not in allowed]
    if unknown:
        msg = f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(allowed))}"
        raise RecipeError(msg)
    if values.get("format", FORMAT) != FORMAT:
        msg = f"{where}: format {values['format']!r} is not {FORMAT}; it was made by another version of globa-tui"
        raise RecipeError(msg)
    try:
        return _checked(values)
    except (RecipeError, SettingsError) as error:
        msg = f"{where}: {error}"
        raise RecipeError(msg) from None


def _checked(values: Mapping[str, Any]) -> Recipe:
    preset = merge_preset(_text("preset", values.get("preset")) or DEFAULT_PRESET)
    coefficients = Coefficients(_mapping("coefficients", values.get("coefficients")))
    fields: dict[str, Any] = {
        "coefficients": preset.coefficients.updated(coefficients),
        "overrides": tuple(_override(item) for item in _list("overrides", values.get("overrides"))),
        "fine_tuned": tuple(_words("fine_tuned", values.get("fine_tuned"))),
        "settings": _settings(_mapping("settings", values.get("settings"))),
        "params": checked_params(_mapping("params", values.get("params"))),
        "param_overrides": tuple(map(override_of, _list("param_overrides", values.get("param_overrides")))),
        "skip_weights": tuple(_number("skip_weights", w) for w in _list("skip_weights", values.get("skip_weights"))),
    }
    fields |= {name: _text(name, values.get(name)) for name in _TEXTS}
    if values.get("method") is not None:
        fields["method"] = _text("method", values["method"])
    if values.get("shard_size") is not None:
        fields["shard_size"] = parse_size(values["shard_size"])
    return Recipe(**fields)


def _override(item: Any) -> Override:
    if isinstance(item, str):
        return parse_coef(item)
    if isinstance(item, dict) and set(item) == {"target", "coefficients"}:
        target = Target.parse(_text("target", item["target"]) or "")
        return Override(target, Coefficients(_mapping("coefficients", item["coefficients"])))
    msg = f"overrides: {item!r:.80} is not 'mlp:D-=0' or a mapping with target and coefficients"
    raise RecipeError(msg)


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    try:
        AnalysisSettings.from_dict(values)
    except TypeError as error:
        msg = f"settings: a value has the wrong type ({error})"
        raise RecipeError(msg) from None
    return values


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        msg = f"{name}: {value!r:.80} is not text; put it in quotes"
        raise RecipeError(msg)
    return value


def _number(name: str, value: Any) -> float:
    if not is_number(value):
        msg = f"{name}: {value!r:.80} is not a finite number"
        raise RecipeError(msg)
    return float(value)


def _list(name: str, value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        msg = f"{name}: {value!r:.80} is not a list"
        raise RecipeError(msg)
    return value or []


def _words(name: str, value: Any) -> list[str]:
    return [_text(name, item) or "" for item in _list(name, value)]


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if value is not None and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        msg = f"{name}: {value!r:.80} is not a mapping of words to values"
        raise RecipeError(msg)
    return value or {}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
