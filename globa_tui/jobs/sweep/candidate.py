"""One point of a sweep: everything about a GLOBA merge that a sweep may change. Free of torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from globa_tui.coefficients import Coefficients, Override, RecipeError, Target
from globa_tui.recipe import Recipe
from store.run import Run


@dataclass(frozen=True)
class Candidate:
    """Coefficients for the model and for parts of it, and what else is not the run's own."""

    coefficients: Coefficients
    """One for every pattern."""
    parts: tuple[Override, ...] = ()
    eta: tuple[float, ...] | None = None
    """η per fine-tune; None is the run's. Lower than the run's only: what it pruned is gone."""
    skip_weights: tuple[float, ...] | None = None
    """Weights of what was not analysed; None is 1/T each."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in a journal."""
        return {
            "coefficients": dict(self.coefficients),
            "parts": [{"target": str(part.target), "coefficients": dict(part.values)} for part in self.parts],
            "eta": None if self.eta is None else list(self.eta),
            "skip_weights": None if self.skip_weights is None else list(self.skip_weights),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        """Read what `to_dict` wrote.

        Raises
        ------
        RecipeError
            When it is something else.
        """
        try:
            parts = tuple(
                Override(Target.parse(part["target"]), Coefficients(part["coefficients"])) for part in values["parts"]
            )
            eta, skip = (
                None if values[key] is None else tuple(float(v) for v in values[key]) for key in ("eta", "skip_weights")
            )
            return cls(Coefficients(values["coefficients"]), parts, eta, skip)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"not a candidate of a sweep: {values!r:.80} ({type(error).__name__})"
            raise RecipeError(msg) from None

    def key(self) -> str:
        """Text that is equal for equal candidates."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def recipe(self, run: str, manifest: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe that merges this candidate.

        With another η than the run's it names the checkpoints and all settings, for a run holds only its own pruned
        matrices; then `manifest` of the run is needed.
        """
        plain = Recipe(
            run=run, coefficients=self.coefficients, overrides=self.parts, skip_weights=self.skip_weights or ()
        )
        if self.eta is None:
            return plain
        from globa_tui.jobs.sources import sources_of

        manifest = manifest if manifest is not None else Run.open(run).manifest
        base, fine_tuned = sources_of(manifest)
        settings = {**manifest["settings"], "eta": list(self.eta)}
        return dataclasses.replace(plain, run=None, base=base, fine_tuned=fine_tuned, settings=settings)

    def __str__(self) -> str:
        words = [str(self.coefficients), *map(str, self.parts)]
        words += [f"eta {','.join(f'{value:g}' for value in self.eta)}"] if self.eta else []
        words += [f"skip {','.join(f'{value:g}' for value in self.skip_weights)}"] if self.skip_weights else []
        return "; ".join(words)


@dataclass(frozen=True)
class Proposal:
    """A candidate, and why a search asks for it."""

    candidate: Candidate
    why: str = field(default="", compare=False)
