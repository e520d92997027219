"""`pause`, `resume`, `cancel` and `status` while a job runs; `inspect` and `open` with a terminal and without."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import globa_tui.tui
from globa_tui.cli.inspect import default_store
from globa_tui.diagnostics import UsageError
from globa_tui.jobs import client
from globa_tui.jobs.protocol import JobStatus, read_control, status_path, write_status
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, EngineChoice
from tests.cli.records import call, make_run


def working(run: Path, **changes: Any) -> None:
    """Let this process be the job of the run."""
    values: dict[str, Any] = {"total": 3, "done": 1, "current": "b\x1b[2J", "eta_seconds": 4000.0, **changes}
    write_status(run, JobStatus.of_this_process("analyze", values.pop("state", "running"), **values))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path, complete=False)


@pytest.mark.parametrize("word", ["pause", "resume", "cancel"])
def test_a_running_job_is_asked(run: Path, word: str) -> None:
    working(run)
    result = call(word, str(run))
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith(f"globa-tui: {run}: analyze (process ")
    assert read_control(run, "analyze") == word


def test_a_silent_job_is_asked_and_said_to_be_silent(run: Path) -> None:
    working(run)
    written = status_path(run, "analyze")
    status = json.loads(written.read_text())
    written.write_text(json.dumps(status | {"heartbeat": status["heartbeat"] - 1000}))
    err = call("pause", str(run)).err
    assert re.search(r"\) was silent for 100\d s; if it still works, it pauses after", err)


@pytest.mark.parametrize("word", ["pause", "cancel"])
def test_nothing_to_ask(run: Path, word: str) -> None:
    working(run, state="complete")
    result = call(word, str(run))
    assert result.code == 4
    assert f"the analyze job is complete, there is nothing to {word}" in result.err


def test_status_of_a_running_job(run: Path) -> None:
    working(run)
    lines = call("status", str(run)).out.splitlines()
    assert lines[0] == f"{run}: running, 1 of 3 layers done"
    assert lines[4].startswith("  analyze     running, process ")
    assert lines[5] == r"              1 of 3, 1 h 6 min left, at b\x1b[2J"
    document = json.loads(call("status", str(run), "--json").out)
    assert (document["run"]["status"], document["jobs"][0]["alive"]) == ("running", True)
    working(run, state="paused")
    assert json.loads(call("status", str(run), "--json").out)["run"]["status"] == "paused"


def test_a_job_that_died_is_said_to_have_died(run: Path) -> None:
    working(run)
    path = run / "jobs" / "analyze.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid_started": 1.0}))
    assert "analyze     died, process " in call("status", str(run)).out
    assert json.loads(call("status", str(run), "--json").out)["run"]["status"] == "paused"
    assert call("pause", str(run)).code == 4


def test_a_failed_job_says_why(run: Path) -> None:
    working(run, state="failed", message="out of\x1b memory")
    out = call("status", str(run)).out
    assert out.startswith(f"{run}: failed, ")
    assert r"              out of\x1b memory" in out.splitlines()


def test_a_job_that_failed_before_its_run_began(tmp_path: Path) -> None:
    """A wrong source leaves a status and no run; `status` must still say why."""
    working(tmp_path / "r.globa", state="failed", message="base: no such checkpoint")
    lines = call("status", str(tmp_path / "r")).out.splitlines()
    assert lines[0] == f"{tmp_path}/r.globa: not begun"
    assert lines[-1].strip() == "base: no such checkpoint"
    assert json.loads(call("status", str(tmp_path / "r"), "--json").out)["run"] is None


def test_a_packed_run_cannot_be_resumed(run: Path, tmp_path: Path) -> None:
    packed = str(tmp_path / "p.h5")
    assert call("pack", str(run), packed, "--incomplete", "--quiet").code == 0
    assert call("resume", packed).code == 2


def test_resume_says_anew_where_to_compute(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(kind: str, arguments: list[str], folder: Path) -> None:
        started.append(arguments)
        raise UsageError("not started here")

    monkeypatch.setattr(client, "start", start)
    assert call("resume", str(run), "--engine", "ray", "--ray-address", "head:6379", "--threads", "3").code == 2
    assert call("resume", str(run)).code == 2
    [cluster, here] = started
    assert EngineChoice("ray", 3, "head:6379").argv() == cluster[cluster.index("--engine") :][:6]
    assert EngineChoice().argv() == here[here.index("--engine") :][:6]
    assert call("resume", str(run), "--threads", "-1").code == 2
    assert len(started) == 2


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("inspect", "b", "f1", "f2"), "globa-tui analyze b f1 f2 --store f1+f2"),
        (("inspect", "b", "f 1", "f2", "--store", "r"), "globa-tui analyze b 'f 1' f2 --store r"),
        (("open", "some run"), "globa-tui show 'some run'"),
    ],
)
def test_without_a_terminal_the_headless_command_is_named(words: tuple[str, ...], instead: str) -> None:
    result = call(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith(f"; without one use: {instead}\n")


def test_with_a_terminal_the_interface_opens(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[Path, AnalysisRequest | None, bool]] = []

    def run_inspect(path: Path, request: AnalysisRequest | None = None, *, mouse: bool = True) -> int:
        opened.append((path, request, mouse))
        return 0

    monkeypatch.setattr(globa_tui.tui, "terminal_trouble", lambda: None)
    monkeypatch.setattr(globa_tui.tui, "run_inspect", run_inspect)
    assert call("open", str(run), "--no-mouse").code == 0
    assert call("inspect", "org/b", "f1", "f2", "--store", "r", "--eta", "0.5", "--fresh", "--download").code == 0
    assert call("open", str(run / "none")).code == 4
    settings = AnalysisSettings(eta=(0.5, 0.5))
    assert opened == [
        (run, None, False),
        (Path("r.globa"), AnalysisRequest("org/b", ("f1", "f2"), Path("r.globa"), settings, True, True), True),
    ]


@pytest.mark.parametrize(
    ("fine_tuned", "name"),
    [
        (("org/math@main", "/data/code/"), "math+code"),
        (("a b.safetensors", ".."), "a_b+model"),
        (("x" * 90, "y" * 90), "x" * 90 + "+" + "y" * 9),
    ],
)
def test_a_store_is_named_after_the_fine_tunes(fine_tuned: tuple[str, ...], name: str) -> None:
    assert default_store(fine_tuned) == name
