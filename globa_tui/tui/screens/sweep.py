"""What sweeps tried: every candidate with what it keeps of each task, and the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from globa_tui.diagnostics import printable
from globa_tui.tui.bindings import Scope
from globa_tui.tui.messages import Answer, SweepRead
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.widgets.row_table import Column, RowTable
from globa_tui.tui.widgets.scatter import scatter

if TYPE_CHECKING:
    from globa_tui.jobs.sweep.results import SweepResults, Trial

_LOOK_SECONDS = 2.0
_MOST_TASKS = 4
"""Tasks with a column of their own; the score is of all."""
_NOTHING = (
    "No sweep was made on this run yet.\n\n"
    "globa-tui sweep {run} --data math=tune.jsonl --data code=tune.txt\n\n"
    "tries one merge after another in memory; what it finds appears here."
)


class SweepScreen(InspectScreen):
    """The candidates of the last sweep, the best first; enter makes one the recipe."""

    MODE = "sweep"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("list",)

    def __init__(self) -> None:
        super().__init__()
        self._found: SweepResults | None = None
        self._trials: dict[int, Trial] = {}
        self._front: frozenset[int] = frozenset()

    def compose_body(self) -> ComposeResult:
        yield Pane(id="sweep-head")
        with Horizontal(id="sweep-body"):
            yield RowTable(self._cell, id="trials")
            yield Pane("Pareto front", id="front")
        yield Pane("Candidate", id="candidate")

    def on_mount(self) -> None:
        """Look for news while the screen is in front."""
        self.set_interval(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self.is_current:
            self.inspect.disk.read_sweep()

    def come_to_front(self) -> None:
        """Look for news at once."""
        self._look()

    def show_all(self) -> None:
        self._show()

    def show_answer(self, answer: Answer) -> None:
        if isinstance(answer, SweepRead) and answer.results != self._found:
            self._found = answer.results
            self._trials = {trial.number: trial for trial in answer.results.trials} if answer.results else {}
            self._front = answer.results.front if answer.results else frozenset()
            self._show()

    def _show(self) -> None:
        found, head = self._found, self.query_one("#sweep-head", Pane)
        table = self.query_one("#trials", RowTable)
        self.query_one("#sweep-body").display = self.query_one("#candidate").display = found is not None
        if found is None:
            head.show(Text(_NOTHING.format(run=printable(self.inspect.model.path)), STYLES["dim"]))
            table.set_rows([])
            return
        judged = ", ".join(f"{printable(task)} by {printable(metric)}" for task, metric in found.tasks.items())
        head.show(
            Text(f"{len(found.trials)} candidates; {judged}. o: none is better in one task without a loss in another")
        )
        tasks = list(found.tasks)[:_MOST_TASKS]
        table.set_columns(
            [
                Column("front", "", 1, "left"),
                Column("no", "No", 4),
                Column("score", "Score", 6),
                *(Column(f"task {task}", printable(task)[:8], 8) for task in tasks),
                Column("why", "Why", 0, "left"),
            ]
        )
        table.set_rows([trial.number for trial in sorted(found.trials, key=lambda trial: (-trial.score, trial.number))])
        table.refresh_rows(self._trials.keys())
        # The front fills its pane, whose size is not known before the first layout.
        self.call_after_refresh(lambda: self._show_cursor(table.key))

    def _cell(self, number: int, column: str, width: int) -> Text:
        trial = self._trials[number]
        if column == "front":
            return Text("o" if number in self._front else "", "bold cyan")
        if column == "no":
            return Text(str(number), STYLES["dim"])
        if column == "score":
            return Text(f"{trial.score:.3f}")
        if column == "why":
            return Text(printable(trial.why)[: max(width, 1)])
        return Text(f"{trial.shares[column.removeprefix('task ')]:.3f}")

    @on(RowTable.Moved)
    def follow_cursor(self, event: RowTable.Moved) -> None:
        """Show the candidate under the cursor."""
        self._show_cursor(event.key)

    def _show_cursor(self, number: int | None) -> None:
        trial = self._trials.get(number) if number is not None else None
        shown = Text("") if trial is None else Text(printable(trial.candidate))
        if trial is not None:
            shown.append("\nenter makes it the recipe; M there merges it", STYLES["dim"])
        self.query_one("#candidate", Pane).show(shown)
        pane = self.query_one("#front", Pane)
        tasks = list(self._found.tasks)[:2] if self._found is not None else []
        if len(tasks) < 2:
            pane.show(Text("One task has no front." if tasks else "", STYLES["dim"]))
            return
        across, up = tasks
        points = {n: (trial.shares[across], trial.shares[up]) for n, trial in self._trials.items()}
        size = (max(pane.size.width, 20), max(pane.size.height, 8))
        pane.show(scatter(points, self._front, number, size, (printable(across)[:12], printable(up)[:12])))

    @on(RowTable.Opened)
    def take(self, event: RowTable.Opened) -> None:
        """Make the candidate the recipe, and go there."""
        editor, trial = self.inspect.editor, self._trials[event.key]
        if editor is None:
            return
        if trial.candidate.eta is not None:
            said = (
                "This candidate has an eta of its own: merge it with the recipe that `globa-tui sweep --recipe` writes."
            )
            self.notify(said, markup=False, severity="warning", timeout=8)
            return
        editor.replace(trial.candidate.recipe(str(self.inspect.model.path)), f"candidate {trial.number}")
        self.inspect.disk.save_recipe(editor.recipe)
        self.inspect.action_show("recipe")
