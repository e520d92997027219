"""What is compared, whether it fits, how far the analysis is, and what stands out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from globa_tui.diagnostics import printable
from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.leaders import STANDOUTS
from globa_tui.tui.messages import Answer, FindingsRead
from globa_tui.tui.metric import percent
from globa_tui.tui.metrics import BY_KEY, PATTERN_WORDS, SHORT_WORDS, TYPES
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.screens.reading import ReadingScreen
from globa_tui.tui.status import EXPLAINED, STYLES
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.widgets.row_line import Cell
from globa_tui.tui.widgets.row_table import Column, RowTable
from globa_tui.tui.words import bar, count, fit_label, name_text, place

if TYPE_CHECKING:
    from globa_tui.findings import Finding

ROOMY = 20
"""Lines from which on all parts have room."""
SEVERITY = {"error": ("✖", "bad"), "warning": ("!", "warn"), "info": ("·", "dim")}


class OverviewScreen(InspectScreen):
    """The first screen."""

    MODE = "overview"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("overview", "list")
    BINDINGS = bindings("overview")

    def __init__(self) -> None:
        super().__init__()
        self._standouts: list[tuple[str, str, int]] = []

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="overview-top"):
            with Vertical(id="overview-left"):
                yield Pane("Compared", id="facts")
                yield Pane("Fit", id="findings")
            yield Pane("Overlap types: share of energy, entries", id="totals")
        table = RowTable(self._cell, id="standouts", header=False)
        table.border_title = "Stands out"
        table.add_class("titled")
        yield table
        yield Pane("In words", id="words")

    def show_all(self) -> None:
        self.query_one("#facts", Pane).show(self._facts())
        findings = self.query_one("#findings", Pane)
        findings.show(self._findings())
        findings.set_class(findings.plain.startswith("✔"), "-fits")
        self.query_one("#standouts", RowTable).set_columns(
            [Column("value", "", 7), Column("what", "", 28, "left"), Column("name", "", 0, "left")]
        )
        self.show_records(())
        self._show_words()

    def show_records(self, changed: Collection[int]) -> None:
        self.set_class(self._results_only, "-results-only")
        self.query_one("#totals", Pane).show(self._totals())
        self._standouts = self._find_standouts()
        table = self.query_one("#standouts", RowTable)
        table.empty = Text(self._hint(), STYLES["dim"])
        table.border_title = "Stands out so far" if self.inspect.model.reading else "Stands out"
        table.set_rows(range(len(self._standouts)))
        table.refresh()

    def show_jobs(self) -> None:
        self.query_one("#standouts", RowTable).empty = Text(self._hint(), STYLES["dim"])
        self.query_one("#standouts", RowTable).refresh()

    def show_answer(self, answer: Answer) -> None:
        if isinstance(answer, FindingsRead):
            self._show_words()

    def action_findings(self) -> None:
        """Read all findings."""
        found = self.inspect.findings
        if found is None:
            self.notify("The layers are still being looked through.")
            return
        if not found and not self._hidden_warnings:
            self.notify("Nothing stands out yet." if self.inspect.header_job.active else "Nothing stands out.")
            return
        text = findings_text(found)
        if self._hidden_warnings:
            text = Text.assemble(text, "\n\n", ("Fit", "bold"), "\n", self._findings())
        self.app.push_screen(ReadingScreen("What stands out, in words", text))

    def action_hidden(self) -> None:
        """Read the distances of hidden states."""
        if self.inspect.hidden is None:
            said = (
                f"No hidden states are kept; globa-tui represent ... --store {self.inspect.model.path} measures them."
            )
            self.notify(said, markup=False)
            return
        self.app.push_screen(ReadingScreen("Hidden states", Text(self.inspect.hidden.page)))

    @on(RowTable.Opened)
    def open_standout(self, event: RowTable.Opened) -> None:
        """Open the layer that stands out."""
        self.inspect.open_layer(self._standouts[event.key][2])

    def rows_shown(self) -> Sequence[int]:
        return list(dict.fromkeys(index for _, _, index in self._standouts))

    def _show_words(self) -> None:
        app = self.inspect
        if app.findings is not None:
            text = findings_text(app.findings, explained=False)
        else:
            looking = app.model.stored and "findings" not in app.troubles
            text = Text("Looking through the layers ..." if looking else "", STYLES["dim"])
        self.query_one("#words", Pane).show(text)

    def _hint(self) -> str:
        if not self.inspect.model.loaded:
            return "Reading the run ..."
        if self.inspect.header_job.active:
            return "Nothing yet: the first layers are being analysed."
        return f"No layer is analysed. {EXPLAINED.get(self.inspect.jobs['analyze'].state, '')}"

    def _facts(self) -> Text:
        model = self.inspect.model
        text = Text()
        if not model.loaded:
            return Text(f"Reading {printable(model.path)} ...", STYLES["dim"])
        names = ["Base", *(f"Fine-tune {n + 1}" for n in range(len(model.fine_tuned)))]
        for name, source in zip(names, [model.base, *model.fine_tuned], strict=False):
            text.append(f"{name:<12}", STYLES["dim"])
            text.append_text(name_text(source.get("source") or source.get("path") or "?"))
            text.append("\n")
        text.append(f"{'Run':<12}", STYLES["dim"])
        text.append(place(model.path))
        text.append("  (packed)" if model.packed else "" if model.stored else "  (not written yet)", STYLES["dim"])
        settings = model.manifest.get("settings") or {}
        if settings:
            shares = {key: " ".join(f"{value:g}" for value in settings.get(key, ())) for key in ("svd_energy", "eta")}
            text.append(f"\n{'Settings':<12}", STYLES["dim"])
            text.append(f"energy {shares['svd_energy']}, eta {shares['eta']}, {settings.get('basis', '')} basis")
        if self.inspect.hidden is not None:
            text.append(f"\n{'Hidden':<12}", STYLES["dim"])
            text.append(self.inspect.hidden.line)
        return text

    def _findings(self) -> Text:
        app = self.inspect
        text = Text()
        for what, trouble in app.troubles.items():
            if what == "run" and app.model.loaded:
                continue  # said above every screen
            text.append(f"✖ {what}: ", STYLES["bad"])
            text.append(f"{printable(trouble)}\n")
        findings = sorted(
            app.model.manifest.get("findings") or (), key=lambda found: list(SEVERITY).index(found["severity"])
        )
        if app.model.loaded and not any(found["severity"] == "error" for found in findings):
            matrices = app.model.matrices
            text.append("✔ fits", STYLES["good"])
            text.append(f": {len(app.model.records)} tensors, {matrices} of them matrices\n")
        for found in findings:
            glyph, tone = SEVERITY[found["severity"]]
            text.append(f"{glyph} ", STYLES[tone])  # type: ignore[index]
            text.append(f"{printable(found['message'])}\n")
        text.rstrip()
        return text

    def _totals(self) -> Text:
        model = self.inspect.model
        totals = model.pattern_totals()
        energy = sum(totals[name][1] for name in TYPES)
        words = SHORT_WORDS if 120 <= self.size.width < 160 else PATTERN_WORDS
        text = Text()
        for name in TYPES:
            share = totals[name][1] / energy if energy else None
            text.append(f"{name:<3}", "bold")
            text.append(bar(share, 16), "cyan")
            text.append(f"{percent(share) if share is not None else '-':>6}{'%' if share is not None else ' '}")
            text.append(f"{count(totals[name][0]) if share is not None else '-':>9}", STYLES["dim"])
            text.append(f"  {words[name]}\n", STYLES["dim"])
        counts = model.counts
        others = "the other fine-tunes" if model.tasks > 2 else f"fine-tune {3 - model.anchor}"
        so_far = " read so far" if model.reading else ""
        text.append(f"of {others}, {counts.done} of {counts.total} layers{so_far}", STYLES["dim"])
        if self._hidden_warnings:
            text.append("  ! about the fit: f", STYLES["warn"])
        return text

    @property
    def _results_only(self) -> bool:
        """Whether there are results, and no room for what was compared beside them."""
        return self.size.height < ROOMY and self.inspect.model.counts.done > 0

    @property
    def _hidden_warnings(self) -> bool:
        """Whether something is to be said about the fit, and there is no room for it."""
        found = self.inspect.model.manifest.get("findings") or ()
        return self._results_only and any(each["severity"] == "warning" for each in found)

    def _find_standouts(self) -> list[tuple[str, str, int]]:
        found: list[tuple[str, str, int]] = []
        leaders = self.inspect.model.leaders
        if leaders.failed:
            found.append(("!!", f"{len(leaders.failed)} failed, the first is", min(leaders.failed)))
        for key, words in STANDOUTS:
            metric = BY_KEY[key]
            for value, index in leaders.of(key)[: 2 if self.size.height >= 36 else 1]:
                unit = "%" if metric.heading.endswith("%") else ""
                found.append((metric.format(value) + unit, words, index))
        return found

    def _cell(self, key: int, column: str, width: int) -> Cell:
        value, words, index = self._standouts[key]
        if column == "value":
            return Text(value, STYLES["bad"] if value == "!!" else "bold")
        if column == "what":
            return Text(words)
        name = printable(self.inspect.model.records[index]["name"])
        return name if cell_len(name) <= width else fit_label(self.inspect.model.labels[index], width)


def findings_text(found: Sequence[Finding], *, explained: bool = True) -> Text:
    """The findings one below the other, and what the words about how sure they are mean."""
    text = Text()
    for number, finding in enumerate(found, 1):
        text.append(f"{number:>2}. ", STYLES["dim"])
        text.append(printable(finding.text))
        text.append(f" ({finding.sure})\n", STYLES["dim"])
    if explained:
        from globa_tui.findings import SURE

        for name in dict.fromkeys(finding.sure for finding in found):
            text.append(f"\n{name}: ", "bold")
            text.append(SURE[name])
    text.rstrip()
    return text
