"""The recipe under edit: a history of immutable recipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from globa_tui.coefficients import Target

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
        self._clock = clock
        self._undo: list[Step] = []
        self._redo: list[Step] = []
        self._now = Step(recipe)
        self._switched_off: dict[str, float] = {}

    @property
    def recipe(self) -> Recipe:
        """The recipe as it is now."""
        return self._now.recipe

    @property
    def changed(self) -> bool:
        """Whether anything differs from the saved recipe."""
        return self.recipe != self.saved

    def value(self, pattern: str) -> float:
        """The coefficient of a pattern for the whole model."""
        return self.recipe.coefficients[pattern]

    def set(self, pattern: str, value: float, *, nudged: bool = False) -> str | None:
        """Give a pattern a coefficient; returns the change in words, or None when there is none."""
        before = self.value(pattern)
        wanted = min(max(round(value, 6), -LIMIT), LIMIT) + 0.0
        if wanted == before:
            return None
        if wanted == 0.0:
            self._switched_off[pattern] = before
        now = self._clock()
        recipe = self.recipe.with_values(Target(), {pattern: wanted})
        last = self._now
        if nudged and last.cell == pattern and now - last.at < MERGE_WITHIN and self._undo:
            start = self._undo[-1].recipe.coefficients[pattern]
            self._now = Step(recipe, _words(pattern, start, wanted), pattern, now)
            self._redo.clear()
            return self._now.what
        return self._push(Step(recipe, _words(pattern, before, wanted), pattern if nudged else "", now))

    def nudge(self, pattern: str, by: float) -> str | None:
        """Move a coefficient a little; quick repeats become one step of the history."""
        return self.set(pattern, self.value(pattern) + by, nudged=True)

    def toggle(self, pattern: str) -> str | None:
        """Switch a pattern off, or on again with the number it had."""
        off = self.value(pattern) == 0.0
        return self.set(pattern, self._switched_off.get(pattern, 1.0) if off else 0.0)

    def take(self, coefficients: Mapping[str, float], name: str) -> str | None:
        """Take all coefficients of a preset."""
        recipe = self.recipe.with_values(Target(), dict(coefficients))
        return None if recipe == self.recipe else self._push(Step(recipe, f"preset {name}"))

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

    def _push(self, step: Step) -> str:
        self._undo.append(self._now)
        del self._undo[:-DEPTH]
        self._redo.clear()
        self._now = step
        return step.what


def _words(pattern: str, before: float, after: float) -> str:
    return f"{pattern} {before:g} -> {after:g}"
