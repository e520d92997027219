"""Pausing, cancelling and starting again the jobs of a run, with the words that go with each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from globa_tui.diagnostics import printable

if TYPE_CHECKING:
    from globa_tui.jobs.protocol import Command
    from globa_tui.tui.app import InspectApp


def pause(app: InspectApp) -> None:
    """Pause the job in the header, or resume it."""
    view = app.header_job
    word: Command = "resume" if view.state in ("paused", "pausing") else "pause"
    if not view.active or view.state == "cancelling":
        app.notify("No job is running; nothing to pause.", markup=False, severity="warning")
        return
    app.disk.control(view.kind, word)
    said = "Resuming." if word == "resume" else "Pausing after the current layer; p resumes."
    app.notify(said, markup=False)


def cancel(app: InspectApp) -> None:
    """Cancel the job in the header, after a question."""
    from globa_tui.tui.screens.confirm import ConfirmScreen

    view = app.header_job
    if not view.active and view.state != "lost":
        app.notify("No job is running; nothing to cancel.", markup=False, severity="warning")
        return
    name = "analysis" if view.kind == "analyze" else "merge"
    kept = "Finished layers are kept." if view.kind == "analyze" else "Nothing of the output is kept."

    def answer(yes: bool | None) -> None:
        if yes:
            app.disk.control(view.kind, "cancel")

    app.push_screen(ConfirmScreen(f"Cancel the {name} (pid {view.pid})? {kept}"), answer)


def restart(app: InspectApp) -> None:
    """Start the analysis again after a question; where that cannot be, say why."""
    from globa_tui.tui.resume import request_of
    from globa_tui.tui.screens.confirm import ConfirmScreen

    if app.jobs["analyze"].active:
        app.notify("The analysis is at work already.", markup=False, severity="warning")
        return
    try:
        request = request_of(app.model, app.request)
    except ValueError as error:
        app.notify(str(error), markup=False, severity="error")
        return

    def answer(yes: bool | None) -> None:
        if yes:
            app.disk.restart(request)

    sources = ", ".join(printable(source) for source in (request.base, *request.fine_tuned))
    app.push_screen(ConfirmScreen(f"Resume the analysis of {sources}? Finished layers are kept."), answer)
