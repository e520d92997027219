"""Searches over coefficients: each proposes a candidate and is told its score, until it has no more. Free of torch."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from globa_tui.coefficients import PATTERNS, Coefficients, Override, RecipeError, Target, parse_coef
from globa_tui.diagnostics import UsageError
from globa_tui.jobs.sweep.candidate import Candidate, Proposal
from globa_tui.jobs.sweep.settings import SweepRequest
from globa_tui.presets import MERGE_PRESETS
from globa_tui.values import parse_numbers

Searching = Generator[Sequence[Proposal], Sequence[float], None]
"""Yields proposals that do not depend on each other's scores, and is sent these scores."""

MOST_GRID = 10_000
TWO_STAGE_TRIALS = 18
_BENEFICIAL = ("A", "B", "C", "D+", "E")
_STAGE_1 = (0.9, 0.8, 0.7, 0.6, 0.5)
_STAGE_2 = (1.2, 1.1, 1.0, 0.9, 0.8)
_LEAST_ETA = 0.5


def start_search(
    request: SweepRequest,
    eta: Sequence[float],
    known: Mapping[str, tuple[Candidate, float]],
    together: int = 1,
) -> Searching:
    """The search of a request.

    Parameters
    ----------
    eta
        The run's.
    known
        What was measured before, by key.
    together
        Candidates that are measured at a time; tpe asks for so many before it learns from them.
    """
    if request.search == "grid":
        return grid(request.grid, len(eta))
    if request.search == "tpe":
        return tpe(request, eta, known, together)
    return two_stage()


def trials_of(request: SweepRequest, tasks: int) -> int:
    """How many candidates a search will propose."""
    if request.search == "grid":
        return len(_grid_candidates(request.grid, tasks))
    return request.trials if request.search == "tpe" else TWO_STAGE_TRIALS


def two_stage() -> Searching:
    """The paper's search on top of C̃_1 at 1.

    Stage 1 tries every pattern alone, then the beneficial ones together at 0.9 down to 0.5, without D−. Beneficial are
    those of A, B, C, D+ and E that alone score no less than none does; all five where none is. Stage 2 puts D− back, at
    1.2 down to 0.8, onto the best of these.

    References
    ----------
    GLOBA, appendix, "Parameter Tuning Methodology" and Table 3. The paper weighs two scores by eye; this goes by their
    harmonic mean.
    """
    nothing, *each = yield [
        _on_top({}, "C1 alone"),
        *(_on_top({pattern: 1.0}, f"stage 1: {pattern} alone") for pattern in PATTERNS[1:]),
        _on_top(dict.fromkeys(PATTERNS[1:], 1.0), "stage 1: all patterns"),
    ]
    alone = dict(zip(PATTERNS[1:], each, strict=False))
    chosen = [pattern for pattern in _BENEFICIAL if alone[pattern] >= nothing] or list(_BENEFICIAL)
    scaled = [dict.fromkeys(chosen, scale) for scale in _STAGE_1]
    scores = yield [
        _on_top(values, f"stage 1: {'+'.join(chosen)} at {scale:g}")
        for values, scale in zip(scaled, _STAGE_1, strict=True)
    ]
    base = scaled[max(range(len(scaled)), key=lambda place: scores[place])]
    yield [_on_top({**base, "D-": scale}, f"stage 2: D- at {scale:g}") for scale in _STAGE_2]


def _on_top(values: Mapping[str, float], why: str) -> Proposal:
    return Proposal(Candidate(Coefficients({**dict.fromkeys(PATTERNS, 0.0), "C1": 1.0, **values})), why)


def grid(axes: Sequence[str], tasks: int) -> Searching:
    """Every combination of the values on the axes; a pattern on no axis is at 1."""
    yield [Proposal(candidate, "grid") for candidate in _grid_candidates(axes, tasks)]


def _grid_candidates(axes: Sequence[str], tasks: int) -> list[Candidate]:
    read = [_axis(text) for text in axes]
    size = 1
    for _, _, values in read:
        size *= len(values)
    if size > MOST_GRID:
        msg = f"--grid: {size:,} combinations; at most {MOST_GRID:,} are tried"
        raise UsageError(msg)
    return [
        _grid_candidate([(target, name) for target, name, _ in read], point, tasks)
        for point in itertools.product(*(values for _, _, values in read))
    ]


def _axis(text: str) -> tuple[Target, str, tuple[float, ...]]:
    """Target, name and values of ``mlp:D-=0,1``, ``eta=0.7,0.9`` or ``skip=0.5,1``."""
    name, sign, values = text.rpartition("=")
    if not sign:
        msg = f"--grid {text!r} is not NAME=VALUE,VALUE, such as 'D-=0,0.8,1.2'"
        raise RecipeError(msg)
    numbers = tuple(dict.fromkeys(parse_numbers("--grid", values)))
    if name in ("eta", "skip"):
        return Target(), name, numbers
    parsed = parse_coef(f"{name}=0")
    return parsed.target, next(iter(parsed.values)), numbers


def _grid_candidate(names: Sequence[tuple[Target, str]], point: Sequence[float], tasks: int) -> Candidate:
    coefficients = Coefficients(dict.fromkeys(PATTERNS, 1.0))
    parts: dict[Target, Coefficients] = {}
    eta = skip = None
    for (target, name), value in zip(names, point, strict=True):
        if name == "eta":
            eta = (value,) * tasks
        elif name == "skip":
            skip = (value,) * tasks
        elif target.scope == "model":
            coefficients = coefficients.updated({name: value})
        else:
            parts[target] = parts.get(target, Coefficients()).updated({name: value})
    return Candidate(coefficients, tuple(Override(t, values) for t, values in parts.items()), eta, skip)


class Space:
    """The parameters of a TPE search, and the way from their values to a candidate and back."""

    def __init__(self, request: SweepRequest, eta: Sequence[float]) -> None:
        self.low, self.high, self.eta = request.low, request.high, tuple(eta)
        self.parts = [Target.parse(part) for part in request.parts]
        self.ranges: dict[str, tuple[float, float]] = {pattern: (self.low, self.high) for pattern in PATTERNS}
        for part in self.parts:
            self.ranges |= {f"{part}:{pattern}": (self.low, self.high) for pattern in PATTERNS}
        if request.sweep_eta:
            self.ranges |= {f"eta {n}": (min(_LEAST_ETA, top), top) for n, top in enumerate(eta, 1)}
        if request.sweep_skip:
            self.ranges |= {f"skip {n}": (self.low, self.high) for n in range(1, len(eta) + 1)}

    def candidate(self, values: Mapping[str, float]) -> Candidate:
        """The candidate at a point; values are rounded so that a recipe is short and says exactly what was tried."""
        point = {name: round(value, 3) for name, value in values.items()}
        parts = tuple(
            Override(part, Coefficients({pattern: point[f"{part}:{pattern}"] for pattern in PATTERNS}))
            for part in self.parts
        )
        tasks = range(1, len(self.eta) + 1)
        # Rounding must not lead above what the run holds.
        eta = tuple(min(point[f"eta {n}"], self.eta[n - 1]) for n in tasks) if "eta 1" in point else None
        skip = tuple(point[f"skip {n}"] for n in tasks) if "skip 1" in point else None
        return Candidate(Coefficients({p: point[p] for p in PATTERNS}), parts, eta, skip)

    def point(self, candidate: Candidate) -> dict[str, float] | None:
        """Where a candidate lies; None when it lies outside."""
        own = {part.target: part.values for part in candidate.parts}
        if not set(own) <= set(self.parts):
            return None
        point = dict(candidate.coefficients)
        for part in self.parts:
            values = {**candidate.coefficients, **own.get(part, {})}
            point |= {f"{part}:{pattern}": values[pattern] for pattern in PATTERNS}
        tasks = len(self.eta)
        for word, found, default in (
            ("eta", candidate.eta, self.eta),
            ("skip", candidate.skip_weights, (1.0 / tasks,) * tasks),
        ):
            if f"{word} 1" in self.ranges:
                point |= {f"{word} {n}": value for n, value in enumerate(found or default, 1)}
            elif found is not None:
                return None
        inside = all(low <= point[name] <= high for name, (low, high) in self.ranges.items())
        return point if inside else None


def tpe(
    request: SweepRequest, eta: Sequence[float], known: Mapping[str, tuple[Candidate, float]], together: int = 1
) -> Searching:
    """Tree-structured Parzen estimation over all coefficients, by Optuna.

    It starts from the published presets and uniform scalings, and learns from everything measured before on the same
    tasks, by whatever search; so it goes on where it was interrupted.

    References
    ----------
    J. Bergstra et al., Algorithms for Hyper-Parameter Optimization (NeurIPS 2011); Optuna's multivariate sampler.
    """
    space = Space(request, eta)
    study, ranges = _study(space, request.seed, known, lies=together > 1)
    starts = [(c, f"start: {name}") for name, c in _starts(space) if c.key() not in known][: request.trials]
    waiting = [(candidate, why, space.point(candidate)) for candidate, why in starts]
    for first in range(0, request.trials, together):
        asked = []
        for _ in range(min(together, request.trials - first)):
            candidate, why, point = waiting.pop(0) if waiting else (None, "tpe", None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if point is not None:
                    study.enqueue_trial(point)
                trial = study.ask(ranges)
            asked.append((trial, Proposal(candidate or space.candidate(trial.params), why)))
        scores = yield [proposal for _, proposal in asked]
        for (trial, _), score in zip(asked, scores, strict=True):
            study.tell(trial, score)


def _study(
    space: Space, seed: int, known: Mapping[str, tuple[Candidate, float]], *, lies: bool
) -> tuple[Any, Mapping[str, Any]]:
    """A study of Optuna that knows what was measured, and its parameters; `lies` keeps open trials apart."""
    optuna = _optuna()
    ranges = {name: optuna.distributions.FloatDistribution(low, high) for name, (low, high) in space.ranges.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(seed=seed + len(known), multivariate=True, constant_liar=lies)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for candidate, score in known.values():
            point = space.point(candidate)
            if point is not None:
                study.add_trial(optuna.trial.create_trial(params=point, distributions=ranges, value=score))
    return study, ranges


def _starts(space: Space) -> list[tuple[str, Candidate]]:
    """Presets and uniform scalings that lie in the space."""
    named = [(name, preset.coefficients) for name, preset in MERGE_PRESETS.items()]
    named += [(f"all at {s:g}", Coefficients(dict.fromkeys(PATTERNS, s))) for s in (0.5, 0.7, 0.8, 0.9)]
    found: dict[str, tuple[str, Candidate]] = {}
    for name, coefficients in named:
        point = space.point(Candidate(coefficients))
        if point is not None:
            candidate = space.candidate(point)
            found.setdefault(candidate.key(), (name, candidate))
    return list(found.values())


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        msg = "--search tpe needs Optuna: pip install 'globa-tui[sweep]'"
        raise UsageError(msg) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
