"""How mergekit's YAML sets a parameter: a number, a gradient over the blocks, or a list of filters on tensor names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from globa_tui.coefficients import RecipeError, Target
from globa_tui.params import ParamOverride
from globa_tui.values import is_number


@dataclass(frozen=True)
class Place:
    """A tensor as mergekit's settings see it."""

    name: str
    block: int | None
    depth: float
    """0 in the first block and before it, 1 in the last and after it. mergekit has 0 after the last block too, so that
    a gradient gives the output head its first value; here the head goes with the last block."""


def places_of(names: Sequence[str]) -> list[Place]:
    """The tensors of a model, with their depth."""
    from store.checkpoints.names import block_of, kind_of

    blocks = {name: block_of(name) for name in names}
    last = max((block for block in blocks.values() if block is not None), default=0)
    found = []
    for name, block in blocks.items():
        before = block is None and kind_of(name) == "embed"
        depth = 0.0 if before else 1.0 if block is None or last == 0 else block / last
        found.append(Place(name, block, depth))
    return found


def check(name: str, setting: Any) -> Any:
    """Refuse a setting that is none of the three forms.

    Raises
    ------
    RecipeError
        Naming the parameter and what stands there.
    """
    if _is_scalar(setting):
        return setting
    if isinstance(setting, list) and setting:
        if all(is_number(item) for item in setting):
            return setting
        if all(isinstance(item, dict) and "value" in item and set(item) <= {"filter", "value"} for item in setting):
            for item in setting:
                if not isinstance(item.get("filter") or "", str):
                    msg = f"{name}: the filter {item['filter']!r:.80} is not text"
                    raise RecipeError(msg)
                check(name, item["value"])
            return setting
    msg = f"{name}: {setting!r:.80} is not a number, a list of numbers over the blocks, or a list of filter and value"
    raise RecipeError(msg)


def varies(setting: Any) -> bool:
    """Whether a setting differs between tensors."""
    return isinstance(setting, list)


def value_at(setting: Any, place: Place) -> Any:
    """The value for one tensor; None where no filter matches.

    A list of numbers is interpolated over the depth; of filters the first that the name contains counts.
    """
    if not isinstance(setting, list):
        return setting
    if is_number(setting[0]):
        position = place.depth * (len(setting) - 1)
        low = int(position)
        high = min(low + 1, len(setting) - 1)
        share = position - low
        return (1.0 - share) * setting[low] + share * setting[high]
    for item in setting:
        word = item.get("filter")
        if word is None or word == "*" or word in place.name:
            return value_at(item["value"], place)
    return None


def overrides_of(values: Mapping[str, Mapping[str, Any]], places: Sequence[Place]) -> tuple[ParamOverride, ...]:
    """Overrides that give every tensor its own values: by block where a block agrees, else by tensor.

    Parameters
    ----------
    values
        Parameters by the name of the tensor.
    places
        All tensors.
    """
    blocks: dict[int, list[Mapping[str, Any]]] = {}
    for place in places:
        if place.block is not None:
            blocks.setdefault(place.block, []).append(values[place.name])
    alike = {block for block, found in blocks.items() if all(one == found[0] for one in found)}
    made = [ParamOverride(Target("blocks", first=block, last=block), blocks[block][0]) for block in sorted(alike)]
    rest = [place for place in places if place.block not in alike]
    return (*made, *(ParamOverride(Target("layer", place.name), values[place.name]) for place in rest))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool) or is_number(value)
