"""What commands say about a run: its sources, how far it is, which jobs work on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globa_tui.aggregate import compared_pairs
from globa_tui.cli.layers import finite
from store.errors import RunDamagedError

if TYPE_CHECKING:
    from globa_tui.jobs.protocol import JobStatus
    from store.run import Run


def jobs_of(path: Path) -> list[tuple[JobStatus, str]]:
    """The jobs that were started on a run, each with its liveness; none for a packed run."""
    from globa_tui.jobs.protocol import KINDS, liveness, read_status

    found = [read_status(path, kind) for kind in KINDS] if path.is_dir() else []
    return [(status, liveness(status)) for status in found if status is not None]


def job_state(status: JobStatus, alive: str) -> str:
    """The state of a job as one word; a process that is gone without a word ``died``."""
    if status.ended or alive in ("alive", "remote"):
        return status.state
    return "died" if alive == "dead" else "lost"


def job_document(status: JobStatus, alive: str) -> dict[str, Any]:
    """A job for ``--json``."""
    return {**asdict(status), "state": job_state(status, alive), "alive": alive in ("alive", "remote", "lost")}


def run_document(run: Run, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The object ``run`` of ``show --json`` and ``status --json``."""
    sources = run.manifest["sources"]
    states = [record["status"] for record in records]
    found: dict[str, Any] = {
        "path": str(run.path),
        "base": next((s.get("source") for s in sources if s.get("role") == "base"), None),
        "fine_tuned": [s.get("source") for s in sources if s.get("role") != "base"],
        "settings": run.manifest["settings"],
        "pairs": [list(pair) for pair in compared_pairs(run.manifest["settings"], len(sources) - 1)],
        "status": _run_status(states, jobs_of(run.path)),
        "layers_total": len(states) - states.count("skipped"),
        "layers_done": states.count("done"),
        "layers_failed": states.count("failed"),
        "layers_skipped": states.count("skipped"),
    }
    return {key: finite(value) for key, value in found.items()}


def _run_status(states: Sequence[str], jobs: Sequence[tuple[JobStatus, str]]) -> str:
    """``running``, ``paused``, ``complete`` or ``failed``; what was interrupted is paused, for it can be resumed."""
    from globa_tui.jobs.protocol import is_working

    working = [status.state for status, _ in jobs if status.kind == "analyze" and is_working(status)]
    if working:
        return "paused" if working[0] == "paused" else "running"
    if "pending" not in states:
        return "failed" if "failed" in states else "complete"
    failed = any(status.kind == "analyze" and status.state == "failed" for status, _ in jobs)
    return "failed" if failed else "paused"


@contextmanager
def reading(run: Run) -> Iterator[None]:
    """Turn whatever a damaged record of a stranger's run breaks into one error that says so."""
    with well_formed(run.path, "a record of this run"):
        yield


@contextmanager
def well_formed(path: Path, what: str) -> Iterator[None]:
    """The same of anything else that was read from a run."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration) as error:
        msg = f"{path}: {what} is not what globa-tui writes ({type(error).__name__}: {error})"
        raise RunDamagedError(msg) from error
