"""Parameters of merge methods for parts of a model: `mlp:density=0.5`, `blocks 0-3:weight=1,0`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from globa_tui.coefficients import RecipeError, Target
from globa_tui.values import param_text, parse_param

_WHOLE_MODEL = re.compile(r"\s*[A-Za-z_][\w-]*\s*=")


@dataclass(frozen=True)
class ParamOverride:
    """Parameters of the method for one target."""

    target: Target
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join(self.words())

    def words(self) -> list[str]:
        """What `--param` reads back, a word per parameter."""
        where = "" if self.target.scope == "model" else f"{self.target}:"
        return [f"{where}{name}={param_text(value)}" for name, value in self.values.items()]


def parse_param_for(text: str) -> ParamOverride:
    """Read ``K=V``, or the same after ``mlp:``, ``q_proj:``, ``blocks 0-7:`` or ``layer NAME:``."""
    where, assignment = ("", text) if _WHOLE_MODEL.match(text) else text.rpartition(":")[::2]
    name, value = parse_param(assignment)
    return ParamOverride(Target.parse(where), {name: value})


def resolve_params(
    params: Mapping[str, Any], overrides: Sequence[ParamOverride], layer: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of one layer: nearest wins, parameter by parameter; of two equally near the later one."""
    resolved = dict(params)
    near = [override for override in overrides if override.target.matches(layer)]
    for override in sorted(near, key=lambda override: override.target.nearness()):
        resolved.update(override.values)
    return resolved


def checked_params(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a recipe may have them: finite numbers, words, true, false, or lists of those."""
    for name, value in values.items():
        parts = value if isinstance(value, list) else [value]
        plain = all(isinstance(p, str | bool | int | float) for p in parts)
        if not plain or not all(math.isfinite(p) for p in parts if isinstance(p, float)):
            msg = f"params: {name} is {value!r:.80}; write a number, a word, true, false, or a list of those"
            raise RecipeError(msg)
    return dict(values)


def override_of(item: Any) -> ParamOverride:
    """An override as it stands in a recipe: ``'mlp:density=0.5'``, or a mapping with target and params."""
    if isinstance(item, str):
        return parse_param_for(item)
    if isinstance(item, dict) and set(item) == {"target", "params"}:
        target, params = item["target"], item["params"]
        if isinstance(target, str) and isinstance(params, dict) and all(isinstance(name, str) for name in params):
            return ParamOverride(Target.parse(target), checked_params(params))
    msg = f"param_overrides: {item!r:.80} is not 'mlp:density=0.5' or a mapping with target and params"
    raise RecipeError(msg)
