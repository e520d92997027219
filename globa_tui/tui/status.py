"""The state of a job as a glyph, a word and a colour; never by colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from globa_tui.diagnostics import printable
from globa_tui.tui.words import duration

if TYPE_CHECKING:
    from globa_tui.jobs.protocol import JobStatus, Kind, Liveness

REMOTE_LOST_SECONDS = 90.0
"""A job on another machine, whose clock may differ, is lost later."""

Tone = Literal["calm", "good", "warn", "bad", "dim"]

# Colours by the terminal's own palette, so that every theme and 16 colours work.
STYLES: dict[Tone, str] = {
    "calm": "bold cyan",
    "good": "bold green",
    "warn": "bold yellow",
    "bad": "bold red",
    "dim": "dim",
}


@dataclass(frozen=True, slots=True)
class JobView:
    """A job's status without what changes by itself, so that two equal views look the same."""

    kind: Kind
    state: str = "none"
    """A state of the protocol, or `none`, `lost`, `died`."""
    pid: int = 0
    host: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    share: float = 0.0
    """Share of the cost that is done; layers differ in cost."""
    eta: str = ""
    current: str = ""
    message: str = ""
    output: str = ""
    silent: str = ""
    """How long there was no heartbeat, in words, when that is too long."""

    @property
    def active(self) -> bool:
        """Whether a process is, or seems to be, at work."""
        return self.state in ("starting", "running", "pausing", "paused", "cancelling")


_WORDS: dict[str, tuple[str, str, Tone]] = {
    "none": ("○", "NO JOB", "dim"),
    "starting": ("◌", "STARTING", "calm"),
    "running": ("●", "RUN", "calm"),
    "pausing": ("◌", "PAUSING", "warn"),
    "paused": ("‖", "PAUSED", "warn"),
    "cancelling": ("◌", "CANCELLING", "warn"),
    "cancelled": ("■", "CANCELLED", "warn"),
    "complete": ("✔", "DONE", "good"),
    "failed": ("✖", "FAILED", "bad"),
    "died": ("✖", "DIED", "bad"),
    "lost": ("?", "LOST", "bad"),
}

EXPLAINED = {
    "none": "No job has run here.",
    "starting": "The job is loading its libraries and the index.",
    "running": "The job runs on its own; closing this screen does not stop it.",
    "pausing": "The job pauses after the current layer.",
    "paused": "Paused. p resumes.",
    "cancelling": "The job stops after the current layer.",
    "cancelled": "Cancelled. Finished layers are kept; R resumes.",
    "complete": "Everything is done.",
    "failed": "The job failed; finished layers are kept; R resumes.",
    "died": "The process is gone (killed, out of memory); finished layers are kept; R resumes.",
    "lost": "The process exists but gave no sign of life for a while. It may hang on a disk or be suspended.",
}


def state_text(view: JobView, *, stored: tuple[int, int, int] | None = None) -> Text:
    """Glyph, word, progress and time left of a job on one line.

    Parameters
    ----------
    view : JobView
        The job.
    stored : tuple of int, optional
        Layers ready, in all, and failed, as the run has them: shown where no job says so.
    """
    state = view.state
    done, total, failed = view.done, view.total, view.failed
    if stored and (state == "none" or not total):
        done, total, failed = stored
        if state == "none" and total:
            state = "complete" if done + failed >= total else "none"
    glyph, word, tone = _WORDS.get(state, ("?", printable(state).upper(), "bad"))
    text = Text(no_wrap=True, end="")
    text.append(f"{glyph} {word}", STYLES[tone])
    if total:
        text.append(f" {done}/{total}")
        if 0 < done < total and state != "complete":
            text.append(f" {100 * (view.share or done / total):.0f}%")
    if failed:
        text.append(f" !! {failed} failed", STYLES["bad"])
    if view.active and view.eta:
        text.append(f" ETA {view.eta}")
    if view.silent:
        text.append(f" no heartbeat {view.silent}", STYLES["bad"])
    return text


def view_of(kind: Kind, status: JobStatus, liveness: Liveness) -> JobView:
    """What a person should see of a status and of the liveness that the protocol finds for it."""
    state, silent = str(status.state), ""
    if not status.ended and liveness == "dead":
        state = "died"
    elif not status.ended and (liveness == "lost" or (liveness == "remote" and status.age > REMOTE_LOST_SECONDS)):
        state, silent = "lost", duration(10 * (status.age // 10))
    return JobView(
        kind=kind,
        state=state,
        pid=status.pid,
        host=printable(status.host),
        total=status.total,
        done=status.done,
        failed=status.failed,
        share=round(status.cost_done / status.cost_total, 2) if status.cost_total > 0 else 0.0,
        eta=duration(status.eta_seconds) if status.eta_seconds is not None else "",
        current=printable(status.current or ""),
        message=printable(status.message),
        output=printable(status.output or ""),
        silent=silent,
    )
