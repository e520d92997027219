"""Whose coefficients the recipe screen edits: the whole model, a kind, blocks, or single layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from globa_tui.coefficients import GROUPS, Coefficients, Override, Target

if TYPE_CHECKING:
    from globa_tui.recipe import Recipe

Record = Mapping[str, Any]
MODEL = Target()


@dataclass(frozen=True)
class Selection:
    """One target, or single layers edited together."""

    targets: tuple[Target, ...] = (MODEL,)
    layers: tuple[Record, ...] = ()
    """The layers, one for each target, where the targets are layers."""

    @property
    def is_model(self) -> bool:
        """Whether it is the whole model, which inherits nothing."""
        return MODEL in self.targets

    @property
    def label(self) -> str:
        """The target in words, as in `blocks 0-7`."""
        if len(self.targets) > 1:
            return f"{len(self.targets)} layers"
        return "whole model" if self.is_model else ", ".join(map(str, self.targets))

    def inherited(self, recipe: Recipe) -> list[dict[str, float]]:
        """For each target the coefficients that hold where it has none of its own."""
        layers: Sequence[Record | None] = self.layers or (None,) * len(self.targets)
        wider = [override for override in recipe.overrides if override.target.scope != "layer"]
        return [_inherited(recipe, wider, target, layer) for target, layer in zip(self.targets, layers, strict=True)]


def kind_selection(name: str) -> Selection:
    """A kind of layer such as `q_proj`, or a group of kinds such as `mlp`."""
    return Selection((Target("group" if name in GROUPS else "kind", name),))


def block_selection(first: int, last: int) -> Selection:
    """A range of blocks, both ends included."""
    return Selection((Target("blocks", first=first, last=last),))


def layer_selection(records: Iterable[Record]) -> Selection:
    """Single layers."""
    layers = tuple(records)
    return Selection(tuple(Target("layer", str(layer["name"])) for layer in layers), layers)


def own_values(recipe: Recipe, targets: Iterable[Target]) -> dict[Target, Coefficients]:
    """What the recipe sets for each of these targets itself."""
    found = dict.fromkeys(targets, Coefficients())
    if MODEL in found:
        found[MODEL] = recipe.coefficients
    for override in recipe.overrides:
        if override.target in found:
            found[override.target] = found[override.target].updated(override.values)
    return found


def with_many(recipe: Recipe, values: Mapping[Target, Mapping[str, float | None]]) -> Recipe:
    """Set coefficients of many targets in one pass; None lets one be inherited again."""
    import dataclasses

    own = own_values(recipe, values)
    model = {MODEL: recipe.coefficients.updated(values[MODEL])} if MODEL in values else {}
    kept = tuple(override for override in recipe.overrides if override.target not in values)
    changed = ((target, own[target].updated(new)) for target, new in values.items() if target != MODEL)
    added = tuple(Override(target, coefficients) for target, coefficients in changed if coefficients)
    return dataclasses.replace(recipe, coefficients=model.get(MODEL, recipe.coefficients), overrides=kept + added)


def kinds_of(records: Iterable[Record]) -> dict[str, int]:
    """Kinds of the matrices, the groups that they form first, each with its number of layers."""
    kinds: dict[str, int] = {}
    for record in records:
        kind = record.get("kind")
        if kind and record.get("role") == "matrix":
            kinds[str(kind)] = kinds.get(str(kind), 0) + 1
    groups = {name: sum(kinds.get(kind, 0) for kind in members) for name, members in GROUPS.items()}
    return {name: number for name, number in groups.items() if number} | kinds


def last_block(records: Iterable[Record]) -> int | None:
    """Number of the last block, or None when there are none."""
    return max((block for record in records if isinstance(block := record.get("block"), int)), default=None)


def parse_blocks(text: str, last: int) -> tuple[int, int]:
    """Read `3` or `0-7`; a ValueError says what is wrong with it."""
    first_word, dash, last_word = (part.strip() for part in text.partition("-"))
    if not first_word.isdecimal() or not (last_word.isdecimal() if dash else True):
        msg = f"{text!r} is not a block such as 3 or a range such as 0-7"
        raise ValueError(msg)
    first, final = int(first_word), int(last_word or first_word)
    if first > final or final > last:
        msg = f"{text}: blocks go from 0 to {last}, the first one before the last"
        raise ValueError(msg)
    return first, final


def _inherited(recipe: Recipe, wider: list[Override], target: Target, layer: Record | None) -> dict[str, float]:
    found = dict(recipe.coefficients)
    if target == MODEL:
        return found
    near = [o for o in wider if (o.target.matches(layer) if layer is not None else _holds(o.target, target))]
    for override in sorted(near, key=lambda override: override.target.nearness()):
        found.update(override.values)
    return found


def _holds(outer: Target, inner: Target) -> bool:
    """Whether every layer of `inner` belongs to `outer`, as far as the targets themselves say."""
    if outer == inner:
        return False
    if outer.scope == "group":
        return inner.scope == "kind" and inner.name in GROUPS[outer.name]
    if outer.scope == inner.scope == "blocks":
        return outer.first <= inner.first and inner.last <= outer.last
    return False
