"""Comparisons and evaluations as jobs of their own: they outlive the terminal, and a kill loses nothing measured."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from globa_tui.jobs.client import wait_ended
from globa_tui.jobs.compare.settings import CompareRequest, read_request, write_request
from globa_tui.jobs.evaluation.settings import EvaluationRequest, EvaluationSettings
from globa_tui.jobs.protocol import JobStatus, read_status
from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sweep.settings import SweepRequest
from store.run.journal import EVALUATIONS, append_journal, read_journal
from tests.cli.records import call
from tests.evaluation.questions import MODELS

# The command ends at once; here it is a function, and its process object goes before the job.
pytestmark = [pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")]


def working(run: Path, done: int) -> JobStatus:
    """The status of a comparison that has done so much."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        status = read_status(run, "compare")
        if status is not None and (status.done >= done or status.ended):
            return status
        time.sleep(0.02)
    pytest.fail("the job does nothing")


def test_a_comparison_that_was_killed_goes_on_with_resume(run, tmp_path):
    """Killed after the fifth of its measurements; afterwards each of them is there once."""
    own = tmp_path / "own.globa"
    shutil.copytree(run, own)
    words = ("--data", f"code={run.parent / 'code.txt'}", "--window", "64", "--limit", "1", "--budget", "1")
    started = call("compare", str(own), *words, "--background")
    assert (started.code, started.out) == (0, ""), started.err
    assert "compare started (process" in started.err
    status = working(own, 5)
    assert not status.ended
    os.kill(status.pid, signal.SIGKILL)
    wait_ended(own, "compare", timeout=30)
    (journal,) = (own / "sweeps").glob("*.jsonl")
    before = journal.read_bytes()
    assert before.count(b"\n") >= 4
    resumed = call("resume", str(own))
    assert "compare started (process" in resumed.err
    ended = wait_ended(own, "compare", timeout=250)
    assert ended is not None
    assert (ended.state, ended.message.split(":")[0]) == ("complete", "best")
    assert journal.read_bytes().startswith(before)
    kept = read_journal(journal)
    measured = Counter(str(line.get("reference") or line.get("candidate")) for line in kept[1:])
    assert len(measured) == 3 + 18
    assert set(measured.values()) == {1}


def test_an_evaluation_outlives_its_terminal(run, tmp_path):
    own = tmp_path / "own.globa"
    shutil.copytree(run, own)
    words = ("evaluate", str(MODELS / "base"), "--data", str(run.parent / "code.txt"), "--window", "64", "--background")
    assert "--background needs --store" in call(*words).err
    started = call(*words, "--store", str(own))
    assert started.code == 0, started.err
    ended = wait_ended(own, "evaluate", timeout=250)
    assert ended is not None
    assert (ended.state, ended.message) == ("complete", "1 measurements, 0 known before")
    (record,) = read_journal(own / EVALUATIONS)
    assert record["data"]["name"] == "code"


def test_requests_lead_there_and_back(tmp_path):
    asked = EvaluationRequest(
        ("m",), ("a.txt",), ("t",), tmp_path, ("x {model}",), tmp_path / "r", EvaluationSettings(window=9), fresh=True
    )
    assert EvaluationRequest.from_json(asked.to_json()) == asked
    comparison = CompareRequest(SweepRequest(tmp_path / "a.globa", ("a.txt",), test=("b.txt",)), 3)
    write_request(comparison)
    assert read_request(tmp_path / "a.globa") == comparison
    for bad in ("[]", "{}", '{"sweep": 3, "budget": 1}', "x"):
        with pytest.raises(SettingsError, match="not the request of a"):
            CompareRequest.from_json(bad)
    with pytest.raises(SettingsError, match="start one with `globa-tui compare`"):
        read_request(tmp_path / "b.globa")


def test_what_a_stranger_left_starts_no_program(run, tmp_path):
    """An evaluation is never resumed from what lies in a run: it might name any program."""
    own = tmp_path / "own.globa"
    shutil.copytree(run, own)
    for place in ("sweeps", "compare", "."):
        append_journal(own / place / "request.json", {"models": ["m"], "commands": [f"touch {tmp_path / 'ran'}"]})
    call("resume", str(own))
    assert not (tmp_path / "ran").exists()
    assert read_status(own, "evaluate") is None
