"""What every screen says above itself when a job failed or the run cannot be read: cause, what is left, the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from globa_tui.diagnostics import printable
from globa_tui.tui.status import STYLES, JobView
from globa_tui.tui.what_if import what_if_text

if TYPE_CHECKING:
    from globa_tui.tui.app import InspectApp

CAUSES = {
    "failed": "failed",
    "died": "is gone without a word: killed, or out of memory",
    "lost": "gives no sign of life: it may hang on a disk, or be suspended",
}
KEYS = {
    "analyze": {"lost": "c cancels it", "": "R resumes, finished layers are kept"},
    "merge": {"lost": "c cancels it", "": "nothing was written; M on the recipe (4) starts again"},
}


def banner_text(app: InspectApp) -> Text:
    """A line where layers are shown at other thresholds, and two about a trouble; empty when all is well."""
    told, trouble = what_if_text(app), _trouble_text(app)
    return Text("\n").join([told, trouble]) if told and trouble else told or trouble


def _trouble_text(app: InspectApp) -> Text:
    if "run" in app.troubles and app.model.loaded:
        text = Text("! ", STYLES["warn"])
        text.append(f"shown as of {app.as_of}" if app.as_of else "not up to date", "bold")
        text.append(f": {printable(app.troubles['run'])}; looking again")
        return text
    for view in (app.jobs["merge"], app.jobs["analyze"]):
        if view.state in CAUSES and not (view.kind == "analyze" and not app.model.counts.pending):
            return _job_text(app, view)
    return Text()


def _job_text(app: InspectApp, view: JobView) -> Text:
    name = "analysis" if view.kind == "analyze" else "merge"
    glyph = "?" if view.state == "lost" else "✖"
    text = Text.assemble((f"{glyph} {name} {CAUSES[view.state]}", STYLES["bad"]))
    if view.message:
        text.append(f": {view.message}")
    keys = KEYS[view.kind]
    text.append(f"\n{keys.get(view.state, keys[''])}", "bold")
    good = [index for index in app.finished if app.model.records[index].get("status") == "done"]
    if view.kind == "analyze" and good:
        text.append(f"; last good layer {printable(app.model.records[good[-1]]['name'])}", STYLES["dim"])
    return text
