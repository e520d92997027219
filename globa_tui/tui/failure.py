"""What is known of a layer that failed: the reason, the lines of the log around it, and the key that tries again."""

from __future__ import annotations

from rich.text import Text

from globa_tui.diagnostics import printable
from globa_tui.tui.columns import Record
from globa_tui.tui.status import STYLES
from globa_tui.tui.words import reason

LINES = 8


def failure_text(record: Record, log: str) -> Text:
    """Reason, log and key, for a layer that failed."""
    text = Text.assemble(("!! this layer failed: ", STYLES["bad"]), reason(record), "\n")
    text.append("R tries it again; the other layers are kept.\n\n", "bold")
    lines, named = _around([line for line in log.splitlines() if line.strip()], str(record["name"]))
    if lines:
        text.append("Log of the analysis, where it names this layer\n" if named else "End of the log of the analysis\n")
        text.append("\n".join(f"  {printable(line)}" for line in lines), STYLES["dim"])
    else:
        text.append("The log of the analysis says nothing more.", STYLES["dim"])
    return text


def _around(lines: list[str], name: str) -> tuple[list[str], bool]:
    """The lines from the last one that names the layer on, or the last ones of all."""
    places = [place for place, line in enumerate(lines) if name in line]
    return (lines[places[-1] : places[-1] + LINES], True) if places else (lines[-LINES:], False)
