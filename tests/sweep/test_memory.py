"""Memory that other programs take while models are measured: the job waits for it, and goes on by itself."""

from __future__ import annotations

import shutil

import pytest

from globa_tui.jobs import reporter, watch
from globa_tui.jobs.compare import job
from globa_tui.jobs.compare.job import run_compare
from globa_tui.jobs.compare.settings import CompareRequest
from globa_tui.jobs.evaluation.job import run_evaluation
from globa_tui.jobs.evaluation.settings import EvaluationRequest, EvaluationSettings
from globa_tui.jobs.represent import RepresentRequest, run_represent
from globa_tui.jobs.sweep.job import run_sweep
from globa_tui.jobs.sweep.settings import SweepRequest
from store.run.journal import SWEEPS
from tests.evaluation.questions import MODELS

GB = 1_000_000_000


class Machine:
    """Other programs take all memory after so many measurements, and free it once the job has paused."""

    def __init__(self, monkeypatch, after):
        self.available, self.after, self.seen = 64 * GB, after, []
        monkeypatch.setattr(watch, "available_memory", lambda: (self.available, 64 * GB))
        monkeypatch.setattr(watch, "own_memory", lambda: 0)
        monkeypatch.setattr(reporter, "PAUSE_POLL_SECONDS", 0.01)
        monkeypatch.setattr(reporter, "HOLD_POLL_SECONDS", 0.05)

    def __call__(self, progress):
        self.seen.append(progress)
        if progress.state == "paused":
            self.available = 64 * GB
        elif progress.done == self.after and not self.pauses:
            self.available = 1000

    @property
    def pauses(self):
        return list(dict.fromkeys(progress.message for progress in self.seen if progress.state == "paused"))


@pytest.fixture
def sweep(run, tmp_path):
    own = tmp_path / run.name
    shutil.copytree(run, own, ignore=shutil.ignore_patterns(SWEEPS, job.COMPARISONS))
    data, settings = (str(run.parent / "code.txt"),), EvaluationSettings(window=64, generate=False, limit=1)
    return SweepRequest(own, data, search="grid", grid=("A=0,1",), settings=settings)


def test_a_sweep_waits_for_memory(sweep, monkeypatch):
    machine = Machine(monkeypatch, after=3)
    assert len(run_sweep(sweep, machine).results.trials) == 2
    (said,) = machine.pauses
    assert "can need" in said
    assert "1 kB are left by other programs" in said
    assert machine.seen[-1].state == "complete"


def test_a_comparison_waits_for_memory(sweep, monkeypatch):
    monkeypatch.setattr(job, "METHODS", {})
    monkeypatch.setattr(job, "two_stage", _one_candidate)
    machine = Machine(monkeypatch, after=1)
    run_compare(CompareRequest(sweep, 1), machine)
    assert len(machine.pauses) == 1


def _one_candidate():
    from globa_tui.jobs.sweep.search import two_stage

    yield next(two_stage())[:1]


def test_an_evaluation_waits_before_it_loads_a_model(run, monkeypatch):
    """What the next model takes is known from its headers: 4 bytes for every entry."""
    machine = Machine(monkeypatch, after=1)
    data, settings = (str(run.parent / "code.txt"),), EvaluationSettings(window=64, limit=1)
    models = tuple(str(MODELS / name) for name in ("math", "code"))
    found = run_evaluation(EvaluationRequest(models, data, settings=settings), machine)
    assert len(found) == 2
    (said,) = machine.pauses
    assert said.startswith(f"{MODELS / 'code'} can need ")


def test_a_comparison_of_hidden_states_waits_before_it_loads_a_model(tmp_path, monkeypatch):
    """The base's inputs are run, then others take the memory: the fine-tune waits, and is run in the end."""
    data = tmp_path / "texts.txt"
    data.write_text("one\ntwo\nthree\n")
    machine = Machine(monkeypatch, after=3)
    models = [str(MODELS / name) for name in ("base", "math", "code")]
    found = run_represent(RepresentRequest(models[0], tuple(models[1:]), (data,)), machine)
    assert len(found["models"]) == 3
    (said,) = machine.pauses
    assert said.startswith(f"{MODELS / 'math'} can need ")
    assert (machine.seen[-1].state, machine.seen[-1].done, machine.seen[-1].total) == ("complete", 9, 9)
