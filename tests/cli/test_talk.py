"""Progress, the report of `doctor`, and a reader that stops listening."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from globa_tui.cli import announce, doctor, progress
from globa_tui.cli.signals import stopping_on_term
from globa_tui.jobs.progress import Progress
from globa_tui.jobs.reporter import JobCancelledError, Reporter
from store.checkpoints import Finding
from tests.cli.records import call, make_run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The first, the last, and in between not more than one in ten seconds; never the same twice."""
    with progress.counting("packing") as tell:
        for done in range(101):
            tell(done, 100)
        tell(100, 100)
    assert capsys.readouterr().err == "packing  0 %  0 of 100\npacking  100 %  100 of 100\n"


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.display("analysing") as shown:
        shown.update(1, 2, "[red]1 of 2\x1b[2J")
    assert "analysing" in screen.getvalue()
    assert r"[red]1 of 2\x1b[2J" in screen.getvalue()


def test_nothing_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.counting("packing", quiet=True) as tell:
        tell(1, 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("state", "failed", "eta", "text"),
    [
        ("running", 0, None, "3 of 9 layers"),
        ("running", 2, 75.0, "3 of 9 layers, 2 failed, 1 min 15 s left"),
        ("paused", 0, 75.0, "3 of 9 layers, paused until `globa-tui resume`"),
    ],
)
def test_a_job_is_followed(
    capsys: pytest.CaptureFixture[str], state: str, failed: int, eta: float | None, text: str
) -> None:
    with progress.display("analysing") as shown:
        shown.follow(Progress(state, 9, 3, failed, 100.0, 25.0, "name", eta))
    assert capsys.readouterr().err == f"analysing  25 %  {text}\n"


def test_the_worst_findings_come_first_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("info", "extra", f"i{number}") for number in range(20)]
    announce.say_findings([*findings, Finding("warning", "missing", "w"), Finding("error", "shape", "e\x1b")])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [r"globa-tui: error: e\x1b", "globa-tui: warning: w", "globa-tui: info: i0"]
    assert lines[-1] == "globa-tui: 10 more findings; the run keeps them all"


def test_doctor_reports_and_keeps_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_torch", lambda: {"devices": ["cpu", "cuda:0 X\x1b"], "threads": 2})
    for name in ("HF_TOKEN", "SSH_CONNECTION", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "s3cret")
    text = call("doctor", str(tmp_path / "not yet")).out
    assert r"  devices            cpu, cuda:0 X\x1b" in text.splitlines()
    assert "SSH_CONNECTION" in text
    document = json.loads(call("doctor", "--json").out)
    assert set(document) == {"schema", "versions", "machine", "torch", "terminal", "disk", "environment"}
    assert "s3cret" not in text + json.dumps(document)


def test_doctor_survives_a_broken_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "raise RuntimeError('driver\\nis broken')")
    assert doctor._torch() == {"devices": None, "error": "is broken"}


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`globa-tui show RUN | head -1` says nothing on stderr."""
    run = make_run(tmp_path)
    line = f"{sys.executable} -m globa_tui show {run} --json | head -c 1"
    result = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("{", "", 0)


def test_terminate_stops_after_the_layer_in_work() -> None:
    """And only within the block: afterwards SIGTERM means what it meant before."""
    before = signal.getsignal(signal.SIGTERM)
    with stopping_on_term() as watch, Reporter("analyze", None, lambda progress: None) as reporter:
        watch(reporter)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(JobCancelledError):
            reporter.layer_started("next")
    assert signal.getsignal(signal.SIGTERM) is before


def test_no_command_is_help_on_stderr() -> None:
    result = call()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: globa-tui ")


def test_version() -> None:
    assert call("--version").out.startswith("globa-tui 0.")
