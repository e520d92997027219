"""The recipe under edit: a history of immutable recipes, and the part of the model that keys change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from globa_tui.coefficients import PATTERNS, Target
from globa_tui.tui.targets import Selection, own_values, with_many

if TYPE_CHECKING:
    from globa_tui.recipe import Recipe

DEPTH = 200
MERGE_WITHIN = 0.8
LIMIT = 2.0
"""Coefficients that keys and the input line offer: -2 to 2."""


@dataclass(frozen=True, slots=True)
class Step:
    """A recipe and what led to it."""

    recipe: Recipe
    what: str = ""
    """The change in words, as in `D- 1 -> 0.75`."""
    cell: str = ""
    """What was changed; repeated nudges of one cell become one step."""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Value:
    """A coefficient as the target under edit sees it."""

    number: float
    own: bool
    """Whether the target sets it itself; else it is inherited."""
    mixed: bool = False
    """Whether the layers under edit differ in it; then `number` is that of the first."""


class RecipeEditor:
    """Changes a recipe and remembers how it was.

    Parameters
    ----------
    recipe : Recipe
        Where editing starts; also what the screen calls `saved`.
    clock : callable
        Seconds that only grow, for telling one long nudge from two.
    """

    def __init__(self, recipe: Recipe, clock: Callable[[], float] = time.monotonic) -> None:
        self.saved = recipe
        self.selection = Selection()
        self._clock = clock
        self._undo: list[Step] = []
        self._redo: list[Step] = []
        self._now = Step(recipe)
        self._switched_off: dict[tuple[tuple[Target, ...], str], float] = {}

    @property
    def recipe(self) -> Recipe:
        """The recipe as it is now."""
        return self._now.recipe

    @property
    def changed(self) -> bool:
        """Whether anything differs from the saved recipe."""
        return self.recipe != self.saved

    def select(self, selection: Selection) -> None:
        """Edit another part of the model from now on."""
        self.selection = selection

    def values(self, recipe: Recipe | None = None) -> dict[str, Value]:
        """Every coefficient as the target under edit sees it, in this recipe or another one."""
        recipe = recipe or self.recipe
        own = own_values(recipe, self.selection.targets)
        inherited = self.selection.inherited(recipe)
        found: dict[str, Value] = {}
        for pattern in PATTERNS:
            numbers = [
                values.get(pattern, wider[pattern]) for values, wider in zip(own.values(), inherited, strict=True)
            ]
            mine = any(pattern in values for values in own.values())
            found[pattern] = Value(numbers[0], mine, len(set(numbers)) > 1)
        return found

    def value(self, pattern: str) -> float:
        """The coefficient of a pattern for the target under edit."""
        return self.values()[pattern].number

    def set(self, pattern: str, value: float) -> str | None:
        """Give a pattern a coefficient; returns the change in words, or None when there is none."""
        return self._change(pattern, dict.fromkeys(self.selection.targets, _within(value)))

    def nudge(self, pattern: str, by: float) -> str | None:
        """Move a coefficient a little; quick repeats become one step of the history."""
        own = own_values(self.recipe, self.selection.targets)
        inherited = self.selection.inherited(self.recipe)
        wanted = {
            target: _within(mine.get(pattern, wider[pattern]) + by)
            for (target, mine), wider in zip(own.items(), inherited, strict=True)
        }
        return self._change(pattern, wanted, nudged=True)

    def toggle(self, pattern: str) -> str | None:
        """Switch a pattern off, or on again with the number it had."""
        off = self.value(pattern) == 0.0
        return self.set(pattern, self._switched_off.get((self.selection.targets, pattern), 1.0) if off else 0.0)

    def clear(self, pattern: str) -> str | None:
        """Let the target under edit inherit a coefficient again."""
        if self.selection.is_model:
            return None
        before = self.value(pattern)
        recipe = with_many(self.recipe, {target: {pattern: None} for target in self.selection.targets})
        if recipe == self.recipe:
            return None
        return self._push(Step(recipe, self._words(pattern, before, self.values(recipe)[pattern].number)))

    def take(self, coefficients: Mapping[str, float], name: str) -> str | None:
        """Take all coefficients of a preset."""
        recipe = with_many(self.recipe, {target: dict(coefficients) for target in self.selection.targets})
        return None if recipe == self.recipe else self._push(Step(recipe, f"{self._place()}preset {name}"))

    def replace(self, recipe: Recipe, name: str) -> str | None:
        """Go on with another recipe; undo returns to this one."""
        return None if recipe == self.recipe else self._push(Step(recipe, f"open {name}"))

    def undo(self) -> str | None:
        """Go back one step; returns what was undone."""
        if not self._undo:
            return None
        undone = self._now
        self._redo.append(undone)
        self._now = self._undo.pop()
        return undone.what

    def redo(self) -> str | None:
        """Do the last undone step again; returns it."""
        if not self._redo:
            return None
        self._undo.append(self._now)
        self._now = self._redo.pop()
        return self._now.what

    def _change(self, pattern: str, wanted: Mapping[Target, float], *, nudged: bool = False) -> str | None:
        before, after = self.value(pattern), next(iter(wanted.values()))
        recipe = with_many(self.recipe, {target: {pattern: value} for target, value in wanted.items()})
        if recipe == self.recipe or (self.selection.is_model and after == before):
            return None
        if after == 0.0 and before != 0.0:
            self._switched_off[self.selection.targets, pattern] = before
        now, last = self._clock(), self._now
        cell = f"{self.selection.label} {pattern}"
        if nudged and last.cell == cell and now - last.at < MERGE_WITHIN and self._undo:
            start = self.values(self._undo[-1].recipe)[pattern].number
            self._now = Step(recipe, self._words(pattern, start, after), cell, now)
            self._redo.clear()
            return self._now.what
        return self._push(Step(recipe, self._words(pattern, before, after), cell if nudged else "", now))

    def _words(self, pattern: str, before: float, after: float) -> str:
        return f"{self._place()}{pattern} {before:g} -> {after:g}"

    def _place(self) -> str:
        return "" if self.selection.is_model else f"{self.selection.label}: "

    def _push(self, step: Step) -> str:
        self._undo.append(self._now)
        del self._undo[:-DEPTH]
        self._redo.clear()
        self._now = step
        return step.what


def _within(value: float) -> float:
    return min(max(round(value, 6), -LIMIT), LIMIT) + 0.0
