"""What the disk thread and the widgets tell the app. Only the app's handlers change what is on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from globa_tui.tui.curves import Curve
from globa_tui.tui.pictures import PairPicture
from globa_tui.tui.status import JobView

if TYPE_CHECKING:
    from globa_tui.effect import EffectTable
    from globa_tui.findings import Finding
    from globa_tui.jobs.protocol import Kind
    from globa_tui.jobs.sweep.results import SweepResults
    from globa_tui.recipe import Recipe
    from globa_tui.tui.hidden import Hidden
    from globa_tui.tui.portion import Portion
    from globa_tui.tui.tally import Tally


@dataclass
class RunOpened(Message):
    """The index is known: from the run, or from the checkpoints while there is no run yet."""

    manifest: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    packed: bool
    stored: bool
    numbers: Mapping[str, list[float | None]] = field(default_factory=dict)
    """Metrics of all layers that the first screen needs."""
    tally: Tally | None = None
    """Sums over all layers."""
    hidden: Hidden | None = None
    """Distances of hidden states, where `represent` measured some."""
    share_read: float = 1.0
    """How much of the run's summary was read; records follow when that is less than 1."""


@dataclass
class RecordsRead(Message):
    """More of the records of a run that was opened."""

    portion: Portion
    share_read: float


@dataclass
class RecordsChanged(Message):
    """Layers finished, failed, or are to be computed again; by index."""

    records: Mapping[int, Mapping[str, Any]]
    new: bool = True
    """Whether they just arrived, rather than being shown at other thresholds."""


@dataclass
class JobsChanged(Message):
    """A job's state as a person sees it is another one than before."""

    analyze: JobView
    merge: JobView


@dataclass
class LayerRead(Message):
    """The arrays of one layer: a curve per fine-tune, a picture per pair of fine-tunes."""

    index: int
    curves: Sequence[Curve]
    pairs: Sequence[PairPicture] = ()


@dataclass
class NumbersReady(Message):
    """Metrics of all layers by their keys, computed ahead from the records that the model had at that version."""

    numbers: Mapping[str, list[float | None]]
    version: int


@dataclass
class EffectReady(Message):
    """The scalars that estimates need, gathered ahead from the records that the model had at that version."""

    table: EffectTable
    version: int


@dataclass
class FindingsRead(Message):
    """What the run says in words, the weightiest first."""

    findings: Sequence[Finding]


@dataclass
class LogRead(Message):
    """The end of a job's log."""

    kind: Kind
    text: str


@dataclass
class RecipeRead(Message):
    """The recipe that was saved beside the run, or None when there is none."""

    recipe: Recipe | None


@dataclass
class RecipeOpened(Message):
    """A recipe file that was asked for, and what is to be said about it; without a recipe it cannot be used."""

    path: Path
    recipe: Recipe | None
    troubles: Sequence[str] = ()


@dataclass
class TextWritten(Message):
    """A text was written to a file, or refused because one is there."""

    path: Path
    text: str
    refused: bool


@dataclass
class OutputChecked(Message):
    """What stands in the way of a merge into that folder, and the space around it."""

    out: Path
    free: int | None
    needed: int
    trouble: str | None
    there: bool = False
    """Whether something is there already that could be replaced."""


@dataclass
class SweepRead(Message):
    """What the last sweep over the run found, or None when there was none."""

    results: SweepResults | None


Answer = EffectReady | FindingsRead | LayerRead | LogRead | OutputChecked | RecipeOpened | SweepRead
"""What a screen may have asked of the disk thread, or waits for."""


@dataclass
class Trouble(Message):
    """Something on disk or a job did not work; the interface lives on."""

    what: str
    """Which part it concerns: `run`, `layer`, `recipe`, `job` or `sources`."""
    text: str
    code: int = 1
    """Exit code to leave with when the interface cannot do without it."""
    as_of: str = ""
    """Time of the last look that worked, as in `14:02:11`, where the run could not be read since."""


@dataclass
class Recovered(Message):
    """The run can be read again."""
