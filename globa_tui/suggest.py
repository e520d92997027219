"""A recipe to start from and the reasons for it, from the numbers of a run; with measurements, from those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from globa_tui.coefficients import PATTERNS, Coefficients
from globa_tui.evaluated import Evaluated
from globa_tui.evidence import Basis
from globa_tui.jobs.sweep.results import SweepResults
from globa_tui.presets import merge_preset
from globa_tui.recipe import Recipe

Record = Mapping[str, Any]

_TYPES = PATTERNS[1:]
_MOSTLY = 0.5
"""Share of the energy from which a run counts as orthogonal."""
_MUCH = 0.2
"""Share of the energy from which direct overlap decides."""
_FEW_DIRECTIONS = 2
_WIDE = 16
_LEAST_TRIALS = 8
"""So many candidates make a sweep worth following."""


@dataclass(frozen=True)
class Scenario:
    """A kind of pair in the paper, and what won there."""

    name: str
    coefficients: Coefficients
    why: str


_AT_07 = Coefficients(dict.fromkeys(PATTERNS, 0.7))
SCENARIOS = {
    "orthogonal": Scenario(
        "orthogonal", merge_preset("a-only").coefficients, "Type A holds most of it; it won in appendix Table 7"
    ),
    "conflict-dominated": Scenario(
        "conflict-dominated",
        merge_preset("a-only").coefficients,
        "opposite signs outweigh equal ones; in such a pair (appendix Table 2) Type A alone won",
    ),
    "synergy-dominated": Scenario(
        "synergy-dominated",
        merge_preset("all").coefficients,
        "equal signs outweigh opposite ones twice; in such a pair (appendix Table 4) all patterns together won",
    ),
    "balanced": Scenario(
        "balanced",
        _AT_07,
        "no pattern decides; scalings of 0.6 to 0.7 won in such pairs (appendix Tables 3 and 6)",
    ),
}


@dataclass(frozen=True)
class Suggestion:
    """What to try, and how far to trust it."""

    scenario: str
    shares: Mapping[str, float]
    """Share of every overlap type in the retained energy of the other tasks."""
    recipe: Recipe
    reasons: tuple[str, ...]
    basis: Basis
    """What chose the recipe."""

    @property
    def measured(self) -> bool:
        """Whether measurements chose the recipe; otherwise it is a start, and data have to decide."""
        return self.basis != "weights"


def suggest(
    run: str,
    records: Sequence[Record],
    settings: Mapping[str, Any],
    sweep: SweepResults | None,
    evaluated: Evaluated | None = None,
) -> Suggestion:
    """Read a run.

    Parameters
    ----------
    run
        Its name, for the recipe.
    records
        Records of its layers.
    settings
        Settings of the analysis.
    sweep
        What the last sweep found; with enough candidates its best is the suggestion.
    evaluated
        What was evaluated; without a sweep the best merge among it is the suggestion.

    Notes
    -----
    The scenarios are the paper's; the borders between them are ours (half of the energy for A, a fifth for D, twice for
    equal signs) and were not calibrated. On weights alone the suggestion is a start for a sweep, no more.
    """
    done = [record for record in records if record.get("status") == "done"]
    shares = _shares(done)
    scenario = SCENARIOS[_scenario(shares)]
    reasons = [f"looks {scenario.name}: {scenario.why}", _energies(shares)]
    recipe, basis, why = _measured(run, sweep, evaluated)
    reasons += [why] if why else []
    return Suggestion(
        scenario.name,
        shares,
        recipe if recipe is not None else Recipe(run=run, coefficients=scenario.coefficients),
        (*reasons, *_idle(evaluated), *_thresholds(done, settings), *_thin(done)),
        basis,
    )


def _measured(run: str, sweep: SweepResults | None, evaluated: Evaluated | None) -> tuple[Recipe | None, Basis, str]:
    """The best recipe that was measured, where, and why: of a sweep with enough candidates, or of merges."""
    trial = sweep.best if sweep is not None and len(sweep.trials) >= _LEAST_TRIALS else None
    if sweep is not None and trial is not None:
        many = f"the best of {len(sweep.trials)} candidates"
        return trial.candidate.recipe(run), "sweep", _keeps(many, trial.shares)
    merge = evaluated.best if evaluated is not None else None
    if evaluated is not None and merge is not None:
        many = f"{merge.path}, the best of {len(evaluated.merges)} evaluated merges (a sweep tries more),"
        return merge.recipe, "evaluation", _keeps(many, merge.shares)
    return None, "weights", ""


def _keeps(what: str, shares: Mapping[str, float]) -> str:
    kept = ", ".join(f"{task} {share:.3f}" for task, share in shares.items())
    return f"measured: {what} keeps {kept} of the best fine-tune's performance"


def _idle(evaluated: Evaluated | None) -> list[str]:
    """Fine-tunes that have nothing to bring."""
    if evaluated is None:
        return []
    tasks = ", ".join(evaluated.metrics)
    return [
        f"evaluated: fine-tune {number} is no better than the base in {tasks}: leave it out, or evaluate its own task"
        for number in evaluated.idle()
    ]


def _shares(records: Sequence[Record]) -> dict[str, float]:
    energies = {name: 0.0 for name in _TYPES}
    for record in records:
        patterns = record.get("patterns") or {}
        for name in _TYPES:
            energies[name] += float((patterns.get(name) or {}).get("energy") or 0.0)
    whole = sum(energies.values())
    return {name: energy / whole if whole else 0.0 for name, energy in energies.items()}


def _scenario(shares: Mapping[str, float]) -> str:
    same, opposite = shares["D+"], shares["D-"]
    if shares["A"] >= _MOSTLY:
        return "orthogonal"
    if same + opposite >= _MUCH and opposite >= same:
        return "conflict-dominated"
    if same >= _MUCH and same >= 2 * opposite:
        return "synergy-dominated"
    return "balanced"


def _energies(shares: Mapping[str, float]) -> str:
    return "retained energy of the other tasks: " + ", ".join(f"{name} {100 * s:.0f} %" for name, s in shares.items())


def _thresholds(records: Sequence[Record], settings: Mapping[str, Any]) -> list[str]:
    """Where the energy curves bend, beside what the run keeps."""
    found = []
    for task, eta in enumerate(settings.get("eta", ())):
        knees = [knee["energy"] for record in records for knee in [_knee(record, task)] if knee.get("energy")]
        if knees:
            bend = median(knees)
            found.append(f"fine-tune {task + 1}: the energy curves bend at {bend:.2f} (median); eta is {eta:g}")
    return found


def _knee(record: Record, task: int) -> Mapping[str, Any]:
    knees = record.get("knee") or []
    return knees[task] if task < len(knees) and isinstance(knees[task], dict) else {}


def _thin(records: Sequence[Record]) -> list[str]:
    """Matrices of which next to nothing was kept: what a threshold cut there may be the skill."""
    found = []
    for record in records:
        ranks = [rank for rank in record.get("rank") or () if rank]
        if ranks and min(ranks) <= _FEW_DIRECTIONS and min(record["shape"]) >= _WIDE:
            found.append(f"{record['name']} keeps {min(ranks)} of {min(record['shape'])} directions")
    if not found:
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"{found[0]}{more}: raise --svd-energy, or leave it out with --exclude so that it is averaged whole"]
