"""Patterns and coefficients, and what they would do."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult

from globa_tui.coefficients import PATTERNS
from globa_tui.effect import Effect, as_array
from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.edits import LIMIT, RecipeEditor
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.widgets.recipe_table import RecipeTable
from globa_tui.tui.widgets.row_table import RowTable


class RecipeScreen(InspectScreen):
    """Edits the recipe; every change is kept beside the run and can be undone."""

    MODE = "recipe"
    SCOPES: ClassVar[tuple[Scope, ...]] = ("recipe",)
    BINDINGS = bindings("recipe")

    def compose_body(self) -> ComposeResult:
        yield RecipeTable(id="recipe")
        yield Pane("Effect (estimate)", id="effect")

    def on_mount(self) -> None:
        """Start on the table."""
        self.table.focus()

    @property
    def table(self) -> RecipeTable:
        """The table of patterns."""
        return self.query_one("#recipe", RecipeTable)

    @property
    def editor(self) -> RecipeEditor | None:
        """The recipe under edit, once it is read."""
        return self.inspect.editor

    def tabs_right(self) -> Text:
        return Text("target: whole model " if self.size.width >= 70 else "", STYLES["dim"])

    def show_all(self) -> None:
        editor = self.editor
        if editor is None:
            self.query_one("#effect", Pane).show(Text("Reading the recipe ...", STYLES["dim"]))
            return
        model = self.inspect.model
        self.table.show_values(editor.recipe.coefficients, editor.saved.coefficients, model.pattern_totals())
        self.query_one("#effect", Pane).show(self._effect(editor))

    def show_records(self, changed: Collection[int]) -> None:
        self.show_all()

    @on(RowTable.Opened)
    def type_row(self) -> None:
        """Type a coefficient for the row."""
        self.action_type()

    def action_switch(self) -> None:
        """Switch the pattern off or on."""
        if self.editor:
            self._changed(self.editor.toggle(self.table.pattern))

    def action_nudge(self, by: float) -> None:
        """Move the coefficient a little."""
        if self.editor:
            self._changed(self.editor.nudge(self.table.pattern, by))

    def action_type(self) -> None:
        """Ask for a coefficient."""
        from globa_tui.tui.screens.ask import AskScreen

        editor = self.editor
        if editor is None:
            return
        pattern = self.table.pattern

        def commit(text: str | None) -> None:
            if text is not None:
                self._changed(editor.set(pattern, float(text)))

        question = f"Coefficient of {pattern}, from {-LIMIT:g} to {LIMIT:g}"
        self.app.push_screen(AskScreen(question, f"{editor.value(pattern):g}", check_coefficient), commit)

    def action_undo(self) -> None:
        """Undo the last change."""
        self._say("Undone", self.editor.undo() if self.editor else None, "Nothing to undo.")

    def action_redo(self) -> None:
        """Do the last undone change again."""
        self._say("Again", self.editor.redo() if self.editor else None, "Nothing to do again.")

    def action_presets(self) -> None:
        """Choose a preset."""
        from globa_tui.presets import MERGE_PRESETS
        from globa_tui.tui.screens.presets import PresetsScreen

        editor = self.editor
        if editor is None:
            return

        def take(name: str | None) -> None:
            if name is not None:
                self._changed(editor.take(MERGE_PRESETS[name].coefficients, name))

        self.app.push_screen(PresetsScreen(editor.recipe.coefficients), take)

    def action_command(self) -> None:
        """Show and copy the command line that merges like this."""
        from globa_tui.tui.screens.reading import ReadingScreen

        if self.editor is None:
            return
        line = self.editor.recipe.equivalent_command()
        self.app.copy_to_clipboard(line)
        note = Text("\n\nCopied, where the terminal allows it. The recipe itself is kept in\n", STYLES["dim"])
        note.append(str(self.inspect.disk.recipe_file))
        self.app.push_screen(ReadingScreen("The same on the command line", Text.assemble(Text(line), note)))

    def action_merge(self) -> None:
        """Review the merge."""
        from globa_tui.tui.screens.merge import MergeScreen

        if self.editor is not None:
            self.app.push_screen(MergeScreen())

    def _say(self, word: str, what: str | None, nothing: str) -> None:
        self.notify(f"{word}: {what}" if what else nothing, markup=False, timeout=3)
        self._changed(what)

    def _changed(self, what: str | None) -> None:
        if what is not None:
            self.inspect.save_recipe()
            self.show_all()

    def _effect(self, editor: RecipeEditor) -> Text:
        model = self.inspect.model
        table = model.effect
        saved, now = as_array(editor.saved.coefficients), as_array(editor.recipe.coefficients)
        columns = [table.estimate(saved), table.estimate(now), table.estimate(as_array(dict.fromkeys(PATTERNS, 1.0)))]
        covered = f"{table.layers} of {model.counts.total} layers"
        text = Text()
        text.append(f"{covered:<27}{'opened':>9}{'now':>9}{'all at 1':>10}\n", STYLES["dim"])
        for name, values in _effect_rows(columns, model.tasks):
            text.append(f"{name:<27}")
            text.append(f"{values[0]:>9}", STYLES["dim"])
            text.append(f"{values[1]:>9}", "bold")
            text.append(f"{values[2]:>10}\n", STYLES["dim"])
        text.append("Without norms, biases and what was not analysed.", STYLES["dim"])
        return text


def _effect_rows(columns: list[Effect], tasks: int) -> list[tuple[str, list[str]]]:
    rows = [("update norm |dW| / |dW1|", [_number(effect.update_norm) for effect in columns])]
    for task in range(tasks):
        rows.append((f"energy of fine-tune {task + 1} kept", [_share(effect.kept[task]) for effect in columns]))
    for task in range(tasks):
        rows.append((f"cosine to fine-tune {task + 1}", [_number(effect.cosine[task]) for effect in columns]))
    return rows


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}%"


def check_coefficient(text: str) -> str | None:
    """What is wrong with a typed coefficient."""
    try:
        value = float(text)
    except ValueError:
        return f"{text!r} is not a number"
    if not math.isfinite(value) or abs(value) > LIMIT:
        return f"{text} is outside {-LIMIT:g} to {LIMIT:g}"
    return None
