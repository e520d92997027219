"""What sweeps found, as it lies in a run: one journal per set of tasks, and what follows from it. Free of torch."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from globa_tui.coefficients import RecipeError
from globa_tui.jobs.evaluation.metrics import Reference, Score, harmonic_mean, performance
from globa_tui.jobs.sweep.candidate import Candidate
from store.run.journal import SWEEPS, append_journal, read_journal

FORMAT = 1
Values = Mapping[str, Mapping[str, float | None]]
"""Metrics by task and name."""


@dataclass(frozen=True)
class Trial:
    """One candidate and what it was measured at."""

    number: int
    candidate: Candidate
    why: str
    search: str
    values: Values
    shares: Mapping[str, float]
    """Of every task, what is kept of the best fine-tune's performance, or of its gain."""
    score: float
    """Harmonic mean of the shares."""
    seconds: float


@dataclass(frozen=True)
class SweepResults:
    """Everything one journal holds."""

    path: Path
    tasks: Mapping[str, str]
    """Name to metric."""
    references: Mapping[str, Values]
    """What the base and the fine-tunes were measured at."""
    trials: tuple[Trial, ...]
    purpose: str = "tune"
    """`tune`, or `test` for data that the search did not see."""

    @property
    def best(self) -> Trial | None:
        """The trial of the highest score; of equals the first."""
        return max(self.trials, key=lambda trial: trial.score, default=None)

    @property
    def front(self) -> frozenset[int]:
        """Numbers of the trials that no other beats in one task without losing in another."""
        points = [tuple(trial.shares[task] for task in self.tasks) for trial in self.trials]
        return frozenset(self.trials[place].number for place in pareto_front(points))

    def reference(self, task: str) -> Reference:
        """What the base and the best fine-tune reach in a task."""
        return reference_of(self.references, task, self.tasks[task])


def reference_of(references: Mapping[str, Values], task: str, metric: str) -> Reference:
    """What the base and the best fine-tune reach in a task."""
    found = {name: values.get(task, {}).get(metric) for name, values in references.items()}
    base = found.pop("base", None)
    return Reference(metric, base, max(found.values(), key=lambda value: performance(metric, value), default=None))


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Places of the points that no other dominates: none is as high everywhere and higher somewhere."""

    def dominated(point: Sequence[float]) -> bool:
        return any(
            all(a >= b for a, b in zip(other, point, strict=True)) and tuple(other) != tuple(point) for other in points
        )

    return [place for place, point in enumerate(points) if not dominated(point)]


def journal_path(run: Path, identity: Mapping[str, Any]) -> Path:
    """The journal of candidates that were measured alike: same run, data, metrics and settings."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return run / SWEEPS / f"{digest[:12]}.jsonl"


def find_journals(run: Path) -> list[Path]:
    """All journals of a run, the one written last first."""
    try:
        found = [path for path in (run / SWEEPS).glob("*.jsonl") if not path.is_symlink()]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    except OSError:
        return []


def read_results(path: Path, score: Score = "share") -> SweepResults | None:
    """Read a journal; None when it has no head. Lines that are not a sweep's are left out."""
    records = read_journal(path)
    tasks: dict[str, str] = {}
    purpose = "tune"
    references: dict[str, Values] = {}
    found: dict[str, tuple[Candidate, Mapping[str, Any]]] = {}
    for record in records:
        if record.get("format") == FORMAT and isinstance(record.get("tasks"), list):
            purpose = str(record.get("purpose", purpose))
            tasks = {
                str(t["name"]): str(t["metric"])
                for t in record["tasks"]
                if isinstance(t, dict) and t.keys() >= {"name", "metric"}
            }
        elif isinstance(record.get("reference"), str):
            references[record["reference"]] = _values(record)
        elif isinstance(record.get("candidate"), dict):
            try:
                candidate = Candidate.from_dict(record["candidate"])
            except RecipeError:
                continue
            found.setdefault(candidate.key(), (candidate, record))
    if not tasks:
        return None
    known = {task: reference_of(references, task, metric) for task, metric in tasks.items()}
    trials = (_trial(number, *pair, known, score) for number, pair in enumerate(found.values(), 1))
    return SweepResults(path, tasks, references, tuple(trials), purpose)


def _trial(
    number: int,
    candidate: Candidate,
    record: Mapping[str, Any],
    known: Mapping[str, Reference],
    score: Score,
) -> Trial:
    values = _values(record)
    shares = {task: ref.share(values.get(task, {}).get(ref.metric), score) for task, ref in known.items()}
    seconds = record.get("seconds")
    return Trial(
        number=number,
        candidate=candidate,
        why=str(record.get("why", "")),
        search=str(record.get("search", "")),
        values=values,
        shares=shares,
        score=harmonic_mean(shares.values()),
        seconds=float(seconds) if _is_number(seconds) else 0.0,
    )


def _values(record: Mapping[str, Any]) -> Values:
    """Numbers by task and metric; anything else a stranger wrote is left out."""
    found = record.get("values")
    tasks = found.items() if isinstance(found, dict) else ()
    return {
        str(task): {str(name): float(value) for name, value in metrics.items() if _is_number(value)}
        for task, metrics in tasks
        if isinstance(metrics, dict)
    }


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number that a float holds; a whole number of JSON may be larger."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


class SweepJournal:
    """Adds to the journal of one set of tasks, and knows what is in it."""

    def __init__(self, path: Path, head: Mapping[str, Any], score: Score = "share") -> None:
        self.path = path
        self._score: Score = score
        if read_results(path) is None:
            append_journal(path, {"format": FORMAT, **head})
        self.results = self._read()

    def _read(self) -> SweepResults:
        found = read_results(self.path, self._score)
        assert found is not None, "the head was written"
        return found

    def find(self, candidate: Candidate) -> Trial | None:
        """The trial of a candidate, when it was measured."""
        key = candidate.key()
        return next((trial for trial in self.results.trials if trial.candidate.key() == key), None)

    def add_reference(self, name: str, values: Values) -> None:
        """Keep what the base or a fine-tune was measured at."""
        append_journal(self.path, {"reference": name, "values": values})
        self.results = self._read()

    def add(self, candidate: Candidate, values: Values, **about: Any) -> Trial:
        """Keep what a candidate was measured at."""
        append_journal(self.path, {"candidate": candidate.to_dict(), "values": values, **about})
        self.results = self._read()
        found = self.find(candidate)
        assert found is not None, "it was just added"
        return found


def by_score(trials: Iterable[Trial]) -> list[Trial]:
    """Trials, the best first."""
    return sorted(trials, key=lambda trial: (-trial.score, trial.number))
