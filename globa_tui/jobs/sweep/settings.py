"""What a sweep is asked to do. Free of torch, so that command line and terminal interface can hold it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from globa_tui.jobs.evaluation.metrics import SCORINGS, Score
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.kinds import require_kinds
from globa_tui.jobs.settings import SettingsError
from store import files
from store.run.journal import SWEEPS

Search = Literal["two-stage", "grid", "tpe"]
REQUEST = "request.json"
"""The last request, in the folder of the sweeps: what `resume` goes on with."""

_LIMIT = 1 << 20
SEARCHES: tuple[Search, ...] = ("two-stage", "grid", "tpe")


@dataclass(frozen=True)
class SweepRequest:
    """One sweep: over which run, on which data, by which search."""

    run: Path
    """Run folder with factors; it also keeps the results."""
    data: tuple[str, ...]
    """Tasks, each ``PATH`` or ``NAME=PATH``; the same files as `evaluate` takes."""
    search: Search = "two-stage"
    trials: int = 60
    """Candidates that tpe tries in all."""
    grid: tuple[str, ...] = ()
    """Axes of a grid: ``D-=0,0.8,1.2``, ``mlp:A=0,1``, ``eta=0.7,0.9`` or ``skip=0.5,1``."""
    parts: tuple[str, ...] = ()
    """Parts of the model with coefficients of their own in tpe: ``mlp``, ``q_proj``, ``blocks 0-7``."""
    low: float = 0.0
    high: float = 1.5
    """Range of the coefficients in tpe."""
    sweep_eta: bool = False
    """Search η too in tpe, from 0.5 up to the run's."""
    sweep_skip: bool = False
    """Search the weights of what was not analysed too in tpe, within the range."""
    metrics: Mapping[str, str] = field(default_factory=dict[str, str])
    """The metric that a task is judged by, where it is not that of its kind."""
    score: Score = "share"
    """How a task counts: share of the best fine-tune's performance, or of its gain over the base."""
    test: tuple[str, ...] = ()
    """Files on which the winner is measured once at the end; the search never sees them."""
    seed: int = 0
    settings: EvaluationSettings = field(default_factory=lambda: EvaluationSettings(generate=False))
    base: str | None = None
    fine_tuned: tuple[str, ...] = ()
    """Where the checkpoints of the run are now, when they have moved."""

    def __post_init__(self) -> None:
        if not self.data:
            msg = "--data: a sweep needs at least one file to measure candidates on"
            raise SettingsError(msg)
        if self.search not in SEARCHES:
            msg = f"--search is {self.search!r}; choose one of {', '.join(SEARCHES)}"
            raise SettingsError(msg)
        if self.score not in SCORINGS:
            msg = f"--score is {self.score!r}; choose one of {', '.join(SCORINGS)}"
            raise SettingsError(msg)
        if self.search == "grid" and not self.grid:
            msg = "--search grid needs axes: --grid 'D-=0,0.8,1.2'"
            raise SettingsError(msg)
        if not self.low < self.high:
            msg = f"--range is {self.low},{self.high}: the first must be smaller"
            raise SettingsError(msg)
        if self.trials < 1:
            msg = f"--trials is {self.trials}; give at least 1"
            raise SettingsError(msg)

    def to_json(self) -> str:
        """The request as text that `from_json` reads; the runner and `resume` use it."""
        values = dataclasses.asdict(self)
        return json.dumps({**values, "run": str(self.run)})

    @classmethod
    def from_json(cls, text: str) -> SweepRequest:
        """Read what `to_json` wrote.

        Raises
        ------
        SettingsError
            When it is something else.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            require_kinds(cls, values)
            require_kinds(EvaluationSettings, values["settings"])
            settings = EvaluationSettings(**values.pop("settings"))
            run = Path(values.pop("run"))
            for name, value in values.items():
                values[name] = tuple(value) if isinstance(value, list) else value
            return cls(run=run, settings=settings, **values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            msg = f"not the request of a sweep ({error}); start it again with `globa-tui sweep`"
            raise SettingsError(msg) from None


def write_request(request: SweepRequest) -> None:
    """Keep the request in its run, for the runner and for `resume`."""
    folder = request.run / SWEEPS
    files.make_folder(folder)
    files.remove_stale(folder, files.ABANDONED_SECONDS)
    files.write_atomic(folder / REQUEST, request.to_json().encode())


def read_request(run: Path) -> SweepRequest:
    """The last request of a sweep over a run; it works on this run, wherever the folder is now.

    Raises
    ------
    SettingsError
        When there is none, or it cannot be read.
    """
    return dataclasses.replace(SweepRequest.from_json(request_text(run / SWEEPS / REQUEST, "sweep")), run=run)


def request_text(path: Path, command: str) -> str:
    """The text of a request that is kept in a run."""
    try:
        return files.read_plain(path, _LIMIT).decode()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: {error}; start one with `globa-tui {command}`"
        raise SettingsError(msg) from None
