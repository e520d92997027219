"""Review of a merge before it starts: what, where to, and whether there is room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Checkbox, Input, Label, Select

from globa_tui.diagnostics import printable
from globa_tui.jobs.base_alone import why_fine_tunes
from globa_tui.presets import DEFAULT_PRESET, MERGE_PRESETS
from globa_tui.recipe import DTYPES, Recipe
from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.messages import Answer, OutputChecked
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.words import reason, several, size

AS_BASE = "as the base"
REPLACE = "overwrite"
"""What is typed to replace a model that is there."""
MOST_PARTS = 4
"""Overrides that are listed one by one."""


class MergeScreen(InspectScreen):
    """Asks for the output and starts the merge as a process of its own."""

    MODE = "recipe"
    ABOUT = "merge"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("merge",)
    BINDINGS = bindings("merge")

    def __init__(self) -> None:
        super().__init__()
        self._checked: OutputChecked | None = None

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(id="merge-form"):
            yield Pane("Merge", id="merge-recipe")
            with Horizontal(classes="row"):
                yield Label("Output folder ")
                yield Input(self._default_output(), id="merge-out", compact=True)
            with Horizontal(classes="row"):
                yield Label("Data type     ")
                options = [(name, name) for name in (AS_BASE, *DTYPES)]
                yield Select(options, value=AS_BASE, allow_blank=False, id="merge-dtype", compact=True)
            yield Checkbox("merge failed layers like norms; NaN and Inf pass through", id="merge-failed", compact=True)
            yield Pane("Check", id="merge-check")
            with Horizontal(classes="row", id="merge-replace"):
                yield Label(f"Type {REPLACE} to replace it ")
                yield Input(id="merge-typed", compact=True)
            with Horizontal(classes="row"):
                yield Button("Start merge", id="merge-start", variant="success", compact=True, disabled=True)
                yield Button("Back", id="merge-back", compact=True)

    def _default_output(self) -> str:
        path = self.inspect.model.path
        return str(path.with_name(f"{path.name.removesuffix('.globa').removesuffix('.h5')}-merged"))

    def on_mount(self) -> None:
        """Start in the line for the output."""
        self.query_one("#merge-out", Input).focus()

    def show_all(self) -> None:
        self.query_one("#merge-recipe", Pane).show(self._summary())
        self._check()

    @property
    def recipe(self) -> Recipe:
        """The recipe under edit with the chosen data type."""
        assert self.inspect.editor is not None
        chosen = self.query_one("#merge-dtype", Select).value
        return replace(self.inspect.editor.recipe, dtype=None if chosen == AS_BASE else str(chosen))

    @property
    def out(self) -> Path | None:
        """The output folder, when one is given."""
        text = self.query_one("#merge-out", Input).value.strip()
        return Path(text).expanduser() if text else None

    @on(Input.Changed, "#merge-out")
    @on(Select.Changed, "#merge-dtype")
    def check_again(self) -> None:
        """Look at the place that is named now."""
        self._check()

    @on(Input.Changed, "#merge-typed")
    @on(Checkbox.Changed, "#merge-failed")
    def judge_again(self) -> None:
        """Allow failed layers, or not; replace what is there, or not."""
        self._show_check()

    @on(Input.Submitted, "#merge-out")
    @on(Input.Submitted, "#merge-typed")
    def leave_line(self) -> None:
        """On to the button, so that one more enter starts, however soon it comes."""
        if self._ready:
            self.query_one("#merge-start", Button).focus()

    @on(Button.Pressed, "#merge-start")
    def start_pressed(self) -> None:
        """Start."""
        self.action_start()

    @on(Button.Pressed, "#merge-back")
    def back_pressed(self) -> None:
        """Back to the recipe."""
        self.app.pop_screen()

    @property
    def _ready(self) -> bool:
        checked = self._checked
        return checked is not None and checked.trouble is None and checked.out == self.out and not self._blocked()

    @property
    def _replaces(self) -> bool:
        """Whether a model is there, and its name for replacing it was typed."""
        there = self._checked is not None and self._checked.there
        return there and self.query_one("#merge-typed", Input).value.strip() == REPLACE

    def _blocked(self) -> str | None:
        app = self.inspect
        if app.jobs["merge"].active:
            return "another merge of this run is at work; wait for it or cancel it"
        if not app.model.stored:
            return "the run is not written yet"
        counts = app.model.counts
        if counts.pending:
            return f"{counts.pending} layers are not analysed yet; merge when the analysis is done"
        if counts.failed and not self.query_one("#merge-failed", Checkbox).value:
            failed = several(counts.failed, "layer")
            return f"{failed} failed: resume the analysis, or tick the box above{self._first_failure()}"
        if self._checked is not None and self._checked.there and not self._checked.trouble and not self._replaces:
            return f"{printable(self._checked.out)} is already there; choose another name, or type {REPLACE} below"
        return None

    def _first_failure(self) -> str:
        failed = (record for record in self.inspect.model.records if record["status"] == "failed")
        return next((f"\n  {printable(record['name'])}: {reason(record)}" for record in failed), "")

    def action_start(self) -> None:
        """Start the merge, and go to its progress."""
        out = self.out
        if out is None or not self._ready:
            self.notify("Not yet: see the check below.", markup=False, severity="warning")
            return
        app = self.inspect
        allow_failed = self.query_one("#merge-failed", Checkbox).value
        app.disk.start_merge(self.recipe, out, allow_failed=allow_failed, overwrite=self._replaces)
        app.pop_screen()
        app.action_show("job")

    def show_answer(self, answer: Answer) -> None:
        if isinstance(answer, OutputChecked) and answer.out == self.out:
            self._checked = answer
            self._show_check()

    def show_jobs(self) -> None:
        self._show_check()

    def show_records(self, changed: Collection[int]) -> None:
        self.query_one("#merge-recipe", Pane).show(self._summary())
        self._show_check()

    def _check(self) -> None:
        out = self.out
        if out is not None and self.inspect.editor is not None:
            layers = list(self.inspect.model.manifest.get("layers") or ())
            model, recipe = self.inspect.model, self.recipe
            sources = model.sources if why_fine_tunes(recipe, model.manifest) else model.sources[:1]
            self.inspect.disk.check_output(out, layers, recipe.dtype, sources)
        self._checked = None
        self._show_check()

    def _show_check(self) -> None:
        text, blocked, checked = Text(), self._blocked(), self._checked
        self.query_one("#merge-failed", Checkbox).display = self.inspect.model.counts.failed > 0
        self.query_one("#merge-replace").display = checked is not None and checked.there and not checked.trouble
        if blocked:
            text.append(f"✖ {blocked}\n", STYLES["bad"])
        if checked is None:
            text.append("Looking at the output folder ..." if self.out else "Name an output folder.", STYLES["dim"])
        else:
            free = size(checked.free) if checked.free is not None else "unknown"
            text.append(f"about {size(checked.needed)} to write, {free} free\n")
            if checked.trouble:
                text.append(f"✖ {printable(checked.trouble)}", STYLES["bad"])
            elif not blocked:
                text.append("✔ ready", STYLES["good"])
        self.query_one("#merge-check", Pane).show(text)
        self.query_one("#merge-start", Button).disabled = not self._ready

    def _summary(self) -> Text:
        editor, model = self.inspect.editor, self.inspect.model
        if editor is None:
            return Text("Reading the recipe ...")
        recipe, counts = editor.recipe, model.counts
        text = Text.assemble(("Method ", STYLES["dim"]), (recipe.method, "bold"), "   ", recipe_words(recipe), "\n")
        for pattern, value in recipe.coefficients.items():
            text.append(f"{pattern} ", "bold" if value else STYLES["dim"])
            text.append(f"{value:g}   ", "" if value else STYLES["dim"])
        if recipe.overrides:
            parts, layers = len(recipe.overrides), len(model.own_layers(recipe))
            text.append(f"\n{several(parts, 'override')}, for {several(layers, 'layer')}", STYLES["warn"])
            for override in recipe.overrides[:MOST_PARTS]:
                text.append(f"\n  {printable(str(override))}")
            if len(recipe.overrides) > MOST_PARTS:
                text.append(f"\n  and {len(recipe.overrides) - MOST_PARTS} more", STYLES["dim"])
        missing = f", {counts.failed} failed" if counts.failed else ""
        missing += f", {counts.pending} not analysed yet" if counts.pending else ""
        others = "averaged" if not recipe.skip_weights or any(recipe.skip_weights) else "as the base has them"
        text.append(
            f"\n{counts.done} layers from the analysis, {counts.skipped} others {others}{missing}", STYLES["dim"]
        )
        return text


def recipe_words(recipe: Recipe) -> Text:
    """The coefficients of the whole model as a preset and what differs from it."""
    for preset in MERGE_PRESETS.values():
        if preset.coefficients == recipe.coefficients:
            return Text(f"preset {preset.name}")
    start = MERGE_PRESETS[DEFAULT_PRESET].coefficients
    text = Text(f"preset {DEFAULT_PRESET} with ")
    changes = [(name, start[name], value) for name, value in recipe.coefficients.items() if value != start[name]]
    text.append(", ".join(f"{name} {before:g} -> {after:g}" for name, before, after in changes), "yellow")
    return text
