"""The keys of the screen in front, and what the signs mean: generated from the tables that define them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from globa_tui.tui.bindings import NO_KEYMAP, SCOPES, TITLES, Keymap, Scope, shown_keys
from globa_tui.tui.filters import SYNTAX, metric_names
from globa_tui.tui.metrics import METRICS, PATTERN_WORDS
from globa_tui.tui.screens.reading import ReadingScreen

MARKS = (
    ("ok", "analysed"),
    ("..", "not analysed yet"),
    ("!!", "failed; the reason stands below the table"),
    ("--", "not a matrix, or excluded: averaged in a merge"),
    ("◆", "marked"),
)


class HelpScreen(ReadingScreen):
    """What the screen shows, then keys by scope, the given ones first, as the user has them."""

    def __init__(self, scopes: Sequence[Scope], keymap: Keymap = NO_KEYMAP, about: str = "") -> None:
        super().__init__("Help", help_text(scopes, keymap, about))


def help_text(scopes: Sequence[Scope], keymap: Keymap = NO_KEYMAP, about: str = "") -> Text:
    """What the screen is about and the help for these scopes, followed by the marks and the patterns."""
    text = Text(f"{about}\n\n" if about else "")
    for scope in scopes:
        text.append(f"{TITLES[scope]}\n", "bold")
        for key in SCOPES[scope]:
            text.append(f"  {shown_keys(key, keymap):<12}", "bold cyan")
            text.append(f" {key.help}\n")
        text.append("\n")
    if "layers" in scopes:
        text.append("Filter of the layers: words that must all hold\n", "bold")
        for example, meaning in SYNTAX:
            text.append(f"  {example:<12}", "bold cyan")
            text.append(f" {meaning}\n")
        text.append(f"  numbers      {metric_names()}\n\n")
        text.append("Columns and other numbers of a layer\n", "bold")
        for metric in METRICS:
            text.append(f"  {metric.heading:<12}", "bold cyan")
            text.append(f" {metric.title}: {metric.meaning}\n")
        text.append("\n")
    text.append("Marks of a layer\n", "bold")
    for mark, meaning in MARKS:
        text.append(f"  {mark:<12}", "bold")
        text.append(f" {meaning}\n")
    text.append("\nPatterns of the others' task vectors against the first\n", "bold")
    for pattern, words in PATTERN_WORDS.items():
        text.append(f"  {pattern:<12}", "bold")
        text.append(f" {words}\n")
    return text
