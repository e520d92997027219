"""The jobs of the run: progress, what failed, the log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from globa_tui.diagnostics import printable
from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.messages import Answer, LogRead
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.status import EXPLAINED, STYLES, JobView, state_text
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.widgets.row_table import Column, RowTable
from globa_tui.tui.words import bar, name_text, reason

if TYPE_CHECKING:
    from globa_tui.jobs.protocol import Kind


class JobScreen(InspectScreen):
    """Both kinds of job side by side, the failed layers, and the end of one log."""

    MODE = "job"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("job", "list")
    BINDINGS = bindings("job")

    def __init__(self) -> None:
        super().__init__()
        self._log_kind: Kind = "analyze"

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="jobs"):
            yield Pane("Analysis", id="job-analyze", classes="job")
            yield Pane("Merge", id="job-merge", classes="job")
        failed = RowTable(self._cell, id="failed", header=False)
        failed.border_title = "Failed layers"
        failed.add_class("titled")
        yield failed
        yield Pane("Last finished", id="finished")
        yield Pane("Log", id="log")

    def come_to_front(self) -> None:
        """Follow a log while the screen is in front, that of the merge while one runs."""
        if self.inspect.jobs["merge"].active:
            self._log_kind = "merge"
        if self.is_current:
            self.inspect.disk.follow_log(self._log_kind)

    def on_screen_suspend(self) -> None:
        """Stop reading the log."""
        self.inspect.disk.follow_log(None)

    def show_all(self) -> None:
        self.show_jobs()
        table = self.query_one("#failed", RowTable)
        table.set_columns(
            [Column("name", "", 34 if self.size.width < 100 else 52, "left"), Column("reason", "", 0, "left")]
        )
        table.empty = Text("No layer has failed.", STYLES["dim"])
        self.show_records(())
        self._show_log()

    def show_jobs(self) -> None:
        for kind, view in self.inspect.jobs.items():
            self.query_one(f"#job-{kind}", Pane).show(self._job(view))
        if self.inspect.jobs["merge"].active and self._log_kind != "merge":
            self.action_other_log()

    def show_records(self, changed: Collection[int]) -> None:
        table = self.query_one("#failed", RowTable)
        table.set_rows(sorted(self.inspect.model.leaders.failed))
        table.refresh_rows(changed)
        self._show_finished()

    def show_answer(self, answer: Answer) -> None:
        if isinstance(answer, LogRead):
            self._show_log()

    def rows_shown(self) -> Sequence[int]:
        return self.query_one("#failed", RowTable).rows

    def on_resize(self) -> None:
        """Show as many lines of the log as there is room for."""
        self.call_after_refresh(self._show_log)
        self.call_after_refresh(self._show_finished)

    @on(RowTable.Opened)
    def open_failed(self, event: RowTable.Opened) -> None:
        """Open a failed layer."""
        self.inspect.open_layer(event.key)

    def action_other_log(self) -> None:
        """Follow the log of the other job."""
        self._log_kind = "merge" if self._log_kind == "analyze" else "analyze"
        self.inspect.disk.follow_log(self._log_kind)
        self._show_log()

    def _job(self, view: JobView) -> Text:
        counts = self.inspect.model.counts
        stored = (counts.done, counts.total, counts.failed) if view.kind == "analyze" else None
        text = state_text(view, stored=stored)
        share = view.share or (view.done / view.total if view.total else 0.0)
        if view.state != "none":
            text.append(f"\n{bar(share, 24)}", "cyan")
            text.append(f" {100 * share:.0f}%")
        if view.current and view.active:
            text.append("\n")
            text.append_text(name_text(view.current))
        if view.pid:
            text.append(f"\npid {view.pid} on {view.host}" if view.host else f"\npid {view.pid}", STYLES["dim"])
        if view.message:
            text.append(f"\n{view.message}", "" if view.state == "complete" else STYLES["bad"])
        if view.output and view.output not in view.message:
            text.append(f"\n-> {view.output}", STYLES["good"])
        hint = "M on the recipe screen starts one." if view.kind == "merge" else EXPLAINED.get(view.state, "")
        if view.state == "none" or view.kind == "analyze":
            text.append(f"\n{hint}", STYLES["dim"])
        return text

    def _show_finished(self) -> None:
        records, pane = self.inspect.model.records, self.query_one("#finished", Pane)
        room = max(pane.size.height, 1)
        text = Text(no_wrap=True, overflow="ellipsis")
        for index in list(self.inspect.finished)[-room:]:
            record = records[index]
            spent = "" if record.get("seconds") is None else f"{record['seconds']:.1f} s"
            mark = "ok" if record["status"] == "done" else "!!"
            text.append(f"{mark} ", "green" if mark == "ok" else STYLES["bad"])
            text.append(f"{spent:>8}  ", STYLES["dim"])
            text.append_text(name_text(record["name"]))
            text.append("\n")
        pane.show(text if text else Text("None yet.", STYLES["dim"]))

    def _show_log(self) -> None:
        pane = self.query_one("#log", Pane)
        pane.border_title = "Log of the merge" if self._log_kind == "merge" else "Log of the analysis"
        lines = [printable(line) for line in self.inspect.logs.get(self._log_kind, "").splitlines() if line.strip()]
        room = 14 if self.size.height >= 36 else 4
        shown = "\n".join(lines[-room:]) if lines else "Nothing was written to it."
        pane.show(Text(shown, "" if lines else STYLES["dim"], no_wrap=True, overflow="ellipsis"))

    def _cell(self, key: int, column: str, width: int) -> Text:
        record = self.inspect.model.records[key]
        return name_text(record["name"]) if column == "name" else Text(reason(record), STYLES["bad"])
