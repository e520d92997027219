"""What every screen has: the header with the job, the line of screens, the line of keys."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

from globa_tui.tui.bindings import NO_KEYMAP, Keymap, Scope, hints, scope_of
from globa_tui.tui.widgets.line import Line

SCREENS = (
    ("overview", "1", "Overview"),
    ("map", "2", "Map"),
    ("layers", "3", "Layers"),
    ("recipe", "4", "Recipe"),
    ("job", "5", "Job"),
    ("sweep", "6", "Sweep"),
)
WIDE = 90
"""Cells from which on every screen is named; on fewer the last one only while it is in front."""


class HeaderLine(Line):
    """What is compared, and how far the job is."""

    def show_run(self, title: str, state: Text) -> None:
        """Show the compared models and the state of the job."""
        self.show(Text.assemble((" GLOBA ", "bold reverse"), " ", (title, "bold")), Text.assemble(state, " "))


class TabsLine(Line):
    """The screens with their keys; the right end is the screen's own."""

    def show_tabs(self, active: str, *, changed: bool, right: Text | None = None) -> None:
        """Mark the active screen, and the recipe when it has unmerged changes."""
        left = Text(" ", no_wrap=True)
        for mode, key, name in SCREENS:
            if mode == "sweep" and mode != active and self.app.size.width < WIDE:
                continue
            mark = "*" if mode == "recipe" and changed else ""
            style = "reverse bold" if mode == active else ""
            text = Text.assemble((f" {key}", f"{style} bold" if style else "bold cyan"), (f" {name}{mark} ", style))
            text.stylize(Style(meta={"@click": f"app.show('{mode}')"}))
            left.append_text(text)
            left.append(" ")
        self.show(left, right)


class KeysLine(Line):
    """The most useful keys of the screen."""

    _named: tuple[Sequence[Scope], Keymap] | None = None
    """What is shown."""

    def show_keys(self, scopes: Sequence[Scope], keymap: Keymap = NO_KEYMAP) -> None:
        """Name the footer keys of these scopes, as the user has them."""
        if (scopes, keymap) == self._named:
            return
        self._named = scopes, keymap
        text = Text(" ", no_wrap=True)
        for shown, key in hints(scopes, keymap):
            owner = {"global": "app", "list": "focused", "grid": "focused"}.get(scope_of(key), "screen")
            part = Text.assemble((shown, "bold cyan"), (f" {key.name}", ""))
            part.stylize(Style(meta={"@click": f"{owner}.{key.action}"}))
            text.append_text(part)
            text.append("  ")
        text.right_crop(2)
        self.show(text)
