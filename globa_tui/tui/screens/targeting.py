"""Choosing the part of the model that the recipe's keys change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from globa_tui.coefficients import GROUPS
from globa_tui.diagnostics import printable
from globa_tui.tui.screens.base import InspectScreen
from globa_tui.tui.status import STYLES
from globa_tui.tui.targets import (
    Record,
    Selection,
    block_selection,
    kind_selection,
    kinds_of,
    last_block,
    layer_selection,
    parse_blocks,
)
from globa_tui.tui.words import several

SCOPES = ("model", "kind", "blocks", "layers")


class Targeting(InspectScreen):
    """The `t` and `T` of the recipe screen: whole model, a kind, a range of blocks, marked layers."""

    def __init__(self) -> None:
        super().__init__()
        self._kind: str | None = None
        self._blocks: tuple[int, int] | None = None

    def action_target(self) -> None:
        """Go on to the next sort of target, with what was chosen there last."""
        editor = self.inspect.editor
        if editor is None:
            return
        here = SCOPES.index(_scope(editor.selection))
        for step in range(1, len(SCOPES) + 1):
            selection = self._selection(SCOPES[(here + step) % len(SCOPES)])
            if selection is not None:
                self._aim(selection)
                return

    def action_choose_target(self) -> None:
        """Choose the target from a list."""
        from globa_tui.tui.screens.choose import ChooseScreen

        editor = self.inspect.editor
        if editor is None:
            return
        scope = _scope(editor.selection)
        now = editor.selection.targets[0].name if scope == "kind" else scope
        self.app.push_screen(ChooseScreen("Target", self._options(), now), self._chosen)

    def _options(self) -> dict[str, Text]:
        editor, records = self.inspect.editor, self.inspect.model.records
        own = {str(override.target) for override in editor.recipe.overrides} if editor else set()
        options = {"model": _option("whole model", several(self.inspect.model.counts.total, "layer"))}
        for kind, number in kinds_of(records).items():
            shown = f"{printable(kind)}{'*' if kind in own else ''}"
            members = f", {' '.join(sorted(GROUPS[kind]))}" if kind in GROUPS else ""
            options[kind] = _option(shown, f"{several(number, 'layer')}{members}")
        last = last_block(records)
        if last is not None:
            some = " *" if any(target.startswith("blocks") for target in own) else ""
            options["blocks"] = _option("blocks", f"a range of 0-{last}, typed next{some}")
        chosen, words = self._layers()
        if chosen:
            options["layers"] = _option("layers", f"{len(chosen)} {words}")
        return options

    def _chosen(self, name: str | None) -> None:
        if name == "blocks":
            self._ask_blocks()
        elif name in ("model", "layers"):
            self._aim(self._selection(name) or Selection())
        elif name is not None:
            self._kind = name
            self._aim(kind_selection(name))

    def _ask_blocks(self) -> None:
        from globa_tui.tui.screens.ask import AskScreen

        last = last_block(self.inspect.model.records) or 0
        first, final = self._blocks or (0, last)

        def check(text: str) -> str | None:
            try:
                parse_blocks(text, last)
            except ValueError as error:
                return str(error)
            return None

        def take(text: str | None) -> None:
            if text is not None:
                self._blocks = parse_blocks(text, last)
                self._aim(block_selection(*self._blocks))

        self.app.push_screen(AskScreen(f"Blocks, of 0 to {last}, as in 0-7", f"{first}-{final}", check), take)

    def _selection(self, scope: str) -> Selection | None:
        records = self.inspect.model.records
        if scope == "model":
            return Selection()
        if scope == "kind":
            kinds = kinds_of(records)
            self._kind = self._kind if self._kind in kinds else next(iter(kinds), None)
            return kind_selection(self._kind) if self._kind else None
        if scope == "blocks":
            last = last_block(records)
            return None if last is None else block_selection(*(self._blocks or (0, last)))
        chosen, _ = self._layers()
        return layer_selection(chosen) if chosen else None

    def _layers(self) -> tuple[Sequence[Record], str]:
        """The marked layers, or else those that the filter of the table leaves."""
        app = self.inspect
        records: Sequence[Any] = app.model.records
        places, words = (sorted(app.marks), "marked") if app.marks else (app.order, "of the filter")
        if not app.marks and len(places) >= len(records):
            return (), ""
        return [records[place] for place in places if records[place].get("role") == "matrix"], words

    def _aim(self, selection: Selection) -> None:
        if self.inspect.editor is not None:
            self.inspect.editor.select(selection)
            self.show_all()
            self.show_chrome()


def _scope(selection: Selection) -> str:
    return {"model": "model", "blocks": "blocks", "layer": "layers"}.get(selection.targets[0].scope, "kind")


def _option(name: str, note: str) -> Text:
    return Text.assemble((f"{name:<18}", "bold"), (note, STYLES["dim"]), no_wrap=True)
