"""``globa-tui status``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from globa_tui.cli.options import JsonOption, ReadableRun, run_path
from globa_tui.diagnostics import printable

EXAMPLE = """
globa-tui status math-code
globa-tui status math-code --json | jq .run.layers_done
"""


def status(run: ReadableRun, as_json: JsonOption = False) -> None:
    """Show how far RUN is and what its jobs do."""
    import json

    from globa_tui.cli.runs import job_document, jobs_of

    path = run_path(run)
    jobs = [job_document(job, alive) for job, alive in jobs_of(path)]
    found = _run(path, needed=not jobs)
    if as_json:
        print(json.dumps({"schema": 1, "run": found, "jobs": jobs}, indent=2, allow_nan=False))
    else:
        head = _run_lines(found) if found else [f"{printable(path)}: not begun"]
        print("\n".join([*head, *(line for job in jobs for line in _job_lines(job))]))


def _run(path: Path, *, needed: bool) -> dict[str, Any] | None:
    """The run; None for a job that ended before it could begin one."""
    from globa_tui.cli.runs import reading, run_document
    from store.errors import RunNotFoundError
    from store.run import Run

    try:
        opened = Run.open(path)
    except RunNotFoundError:
        if needed:
            raise
        return None
    with reading(opened):
        return run_document(opened, opened.records())


def _run_lines(found: dict[str, Any]) -> list[str]:
    counts = f"{found['layers_done']} of {found['layers_total']} layers done"
    counts += f", {found['layers_failed']} failed" if found["layers_failed"] else ""
    return [
        f"{printable(found['path'])}: {found['status']}, {counts}",
        f"  base        {printable(found['base'])}",
        *(f"  fine-tuned  {printable(source)}" for source in found["fine_tuned"]),
    ]


def _job_lines(job: dict[str, Any]) -> list[str]:
    from globa_tui.values import about_time

    lines = [f"  {job['kind']:<10}  {job['state']}, process {job['pid']} on {printable(job['host'])}"]
    if job["state"] in ("starting", "running", "pausing", "paused"):
        left = job["eta_seconds"]
        at = f"{job['done']} of {job['total']}"
        at += f", {about_time(left)} left" if left is not None and job["state"] == "running" else ""
        lines.append(f"              {at}" + (f", at {printable(job['current'])}" if job["current"] else ""))
    if job["message"]:
        lines.append(f"              {printable(job['message'])}")
    if job["output"]:
        lines.append(f"              {printable(job['output'])}")
    return lines
