"""Patterns and coefficients, and what they would do."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult

from globa_tui.coefficients import PATTERNS
from globa_tui.diagnostics import printable
from globa_tui.effect import Effect, as_array
from globa_tui.tui.bindings import Scope, bindings
from globa_tui.tui.edits import LIMIT, RecipeEditor
from globa_tui.tui.messages import Answer, EffectReady, RecipeOpened
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.screens.targeting import Targeting
from globa_tui.tui.status import STYLES
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.widgets.recipe_table import RecipeTable
from globa_tui.tui.widgets.row_table import RowTable
from globa_tui.tui.words import several
from globa_tui.tui.writing import ask_place, check_place

ROOMY = 20
"""Lines from which on every number of the effect has a line of its own."""


class RecipeScreen(Targeting, InspectScreen):
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
        editor = self.editor
        if editor is None:
            return Text()
        words = printable(editor.selection.label)
        words = words if len(words) <= 26 else f"…{words[-25:]}"
        parts = len(editor.recipe.overrides)
        more = (
            f" (+{several(parts, 'override')})" if parts and self.size.width >= 100 else f" (+{parts})" if parts else ""
        )
        style = STYLES["dim"] if editor.selection.is_model else STYLES["warn"]
        label = "target: " if self.size.width >= 76 else ""
        return Text.assemble((f"{label}{words}", style), (f"{more} ", STYLES["dim"]))

    def show_all(self) -> None:
        editor = self.editor
        if editor is None:
            self.query_one("#effect", Pane).show(Text("Reading the recipe ...", STYLES["dim"]))
            return
        model = self.inspect.model
        selection = editor.selection
        totals = model.pattern_totals(None if selection.is_model else model.rows_of(selection.targets))
        self.table.show_values(editor.values(), editor.values(editor.saved), totals, whole=selection.is_model)
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

        self.app.push_screen(
            PresetsScreen({name: value.number for name, value in editor.values().items()}), take
        )  # fmt: skip

    def action_clear(self) -> None:
        """Let the target inherit the coefficient again."""
        editor = self.editor
        if editor is None:
            return
        if editor.selection.is_model:
            self.notify("The whole model inherits nothing; t chooses a part of it.", markup=False)
        self._changed(editor.clear(self.table.pattern))

    def action_save_as(self) -> None:
        """Write the recipe to a file of its own."""
        if self.editor is not None:
            recipe = self.editor.recipe
            ask_place(self.inspect, "Save the recipe as", "recipe.yaml", lambda _: recipe.to_yaml())

    def action_load(self) -> None:
        """Go on with a recipe from a file."""
        from globa_tui.tui.screens.ask import AskScreen

        def take(text: str | None) -> None:
            if text is not None:
                self.inspect.disk.open_recipe(Path(text.strip()).expanduser())

        self.app.push_screen(AskScreen("Open the recipe in the file", "", check_place), take)

    def show_answer(self, answer: Answer) -> None:
        if isinstance(answer, EffectReady):
            self.show_all()
        if isinstance(answer, RecipeOpened) and self.editor is not None:
            for trouble in answer.troubles:
                self.notify(trouble, markup=False, severity="warning" if answer.recipe else "error", timeout=8)
            if answer.recipe is not None:
                self._say("Opened", self.editor.replace(answer.recipe, str(answer.path)), "It is the same recipe.")

    def action_command(self) -> None:
        """Show and copy the command line that merges like this."""
        from globa_tui.tui.screens.command import CommandScreen

        if self.editor is None:
            return
        line = self.editor.recipe.equivalent_command()
        self.app.copy_to_clipboard(line)

        def keep(wanted: bool | None) -> None:
            if wanted:
                ask_place(self.inspect, "Write the command to the file", "merge.sh", lambda _: f"{line}\n")

        self.app.push_screen(CommandScreen(line, self.inspect.disk.recipe_file), keep)

    def action_merge(self) -> None:
        """Review the merge."""
        from globa_tui.tui.screens.merge import MergeScreen

        if self.editor is not None and not self.inspect.still_reading():
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
        if not model.effect_gathered:
            return Text("Gathering what every layer adds ...", STYLES["dim"])
        table, index = model.effect, model.layer_index
        saved, now = index.coefficients(editor.saved), index.coefficients(editor.recipe)
        columns = [table.estimate(saved), table.estimate(now), table.estimate(as_array(dict.fromkeys(PATTERNS, 1.0)))]
        covered = f"{table.layers} of {model.counts.total} layers"
        if self.size.height < ROOMY:
            return _short_effect(covered, columns)
        text = Text()
        text.append(f"{covered:<27}{'opened':>9}{'now':>9}{'all at 1':>10}\n", STYLES["dim"])
        for name, values in _effect_rows(columns, model.tasks):
            text.append(f"{name:<27}")
            text.append(f"{values[0]:>9}", STYLES["dim"])
            text.append(f"{values[1]:>9}", "bold")
            text.append(f"{values[2]:>10}\n", STYLES["dim"])
        text.append("Without norms, biases and what was not analysed.", STYLES["dim"])
        if editor.recipe.overrides:
            parts, layers = len(editor.recipe.overrides), len(model.own_layers(editor.recipe))
            text.append(f"\n{several(parts, 'override')}, for {several(layers, 'layer')}.", STYLES["warn"])
        return text


def _short_effect(covered: str, columns: list[Effect]) -> Text:
    """The same numbers in a line for each choice, where there is no room for one each."""
    tasks = range(len(columns[0].kept))
    heads = ["|dW|", *(f"kept {task + 1}" for task in tasks), *(f"cos {task + 1}" for task in tasks)]
    text = Text(f"{covered:<18}" + "".join(f"{head:>8}" for head in heads), STYLES["dim"], no_wrap=True)
    for name, effect, style in zip(("opened", "now", "all at 1"), columns, ("dim", "bold", ""), strict=True):
        values = [_number(effect.update_norm), *map(_share, effect.kept), *map(_number, effect.cosine)]
        text.append(f"\n{name:<18}" + "".join(f"{value:>8}" for value in values), style)
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
