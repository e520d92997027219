"""A choice of published coefficients."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from globa_tui.presets import MERGE_PRESETS


class PresetsScreen(ModalScreen[str]):
    """Lists the presets; enter takes one, esc none."""

    BINDINGS = [
        Binding("escape,q,backspace", "dismiss", "Back", id="presets.back"),
        Binding("j", "step('cursor_down')", "Down", id="presets.down"),
        Binding("k", "step('cursor_up')", "Up", id="presets.up"),
    ]

    def __init__(self, now: Mapping[str, float]) -> None:
        super().__init__()
        self._now = now

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Presets"
            box.border_subtitle = "enter takes, esc leaves"
            yield OptionList(*(Option(self._line(name), id=name) for name in MERGE_PRESETS), compact=True)

    def _line(self, name: str) -> Text:
        preset = MERGE_PRESETS[name]
        mark = "● " if preset.coefficients == self._now else "  "
        return Text.assemble(
            (mark, "green"), (f"{name:<18}", "bold"), preset.description, (f"\n  {preset.source}", "dim")
        )

    def action_step(self, method: str) -> None:
        """Move the cursor."""
        getattr(self.query_one(OptionList), f"action_{method}")()

    @on(OptionList.OptionSelected)
    def take(self, event: OptionList.OptionSelected) -> None:
        """Close with the name of the preset."""
        self.dismiss(event.option_id)
