"""Writing something to a file that a person names: the question, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from globa_tui.diagnostics import printable
from globa_tui.tui.messages import TextWritten

if TYPE_CHECKING:
    from globa_tui.tui.run_app import RunApp


def ask_place(app: RunApp, question: str, name: str, text: Callable[[Path], str]) -> None:
    """Ask for a file and have `text` written to it; that is called in the disk thread, with the file's path."""
    from globa_tui.tui.screens.ask import AskScreen

    def write(typed: str | None) -> None:
        if typed is not None:
            place = Path(typed.strip()).expanduser()
            app.disk.write_text(place, lambda: text(place))

    app.push_screen(AskScreen(question, name, check_place), write)


def tell_written(app: RunApp, answer: TextWritten) -> None:
    """Say where it is; where another file is, ask whether to replace that."""
    from globa_tui.tui.screens.confirm import ConfirmScreen

    if not answer.refused:
        app.notify(f"Written to {printable(answer.path.absolute())}.", markup=False)
        return

    def replace(yes: bool | None) -> None:
        if yes:
            app.disk.write_text(answer.path, lambda: answer.text, overwrite=True)

    app.push_screen(ConfirmScreen(f"{printable(answer.path)} is already there. Replace it?"), replace)


def check_place(text: str) -> str | None:
    """What is wrong with a typed path."""
    return None if text.strip() else "give the name of a file"
