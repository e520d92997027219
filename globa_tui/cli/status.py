"""``globa-tui status``."""

from __future__ import annotations

from typing import Any

from globa_tui.cli.options import JsonOption, ReadableRun, run_path

EXAMPLE = """
globa-tui status math-code
globa-tui status math-code --json | jq .run.layers_done
"""


def status(run: ReadableRun, as_json: JsonOption = False) -> None:
    """Show how far RUN is and what its jobs do."""
    import json

    from globa_tui.cli.runs import job_document, jobs_of, reading, run_document
    from store.run import Run

    opened = Run.open(run_path(run))
    with reading(opened):
        found = run_document(opened, opened.records())
        jobs = [job_document(job, alive) for job, alive in jobs_of(opened.path)]
        if as_json:
            print(json.dumps({"schema": 1, "run": found, "jobs": jobs}, indent=2))
        else:
            print("\n".join([*_run_lines(found), *(line for job in jobs for line in _job_lines(job))]))


def _run_lines(found: dict[str, Any]) -> list[str]:
    from globa_tui.diagnostics import printable

    counts = f"{found['layers_done']} of {found['layers_total']} layers done"
    counts += f", {found['layers_failed']} failed" if found["layers_failed"] else ""
    return [
        f"{printable(found['path'])}: {found['status']}, {counts}",
        f"  base        {printable(found['base'])}",
        *(f"  fine-tuned  {printable(source)}" for source in found["fine_tuned"]),
    ]


def _job_lines(job: dict[str, Any]) -> list[str]:
    from globa_tui.diagnostics import printable
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
