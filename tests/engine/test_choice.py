"""Where a job computes: what may be said, and that the job's own process hears it."""

from __future__ import annotations

from pathlib import Path

import pytest

from globa_tui.engine.open import open_engine
from globa_tui.jobs import runner
from globa_tui.jobs.progress import Estimator
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, EngineChoice, SettingsError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("slurm",), "--engine is 'slurm'; choose one of local, ray"),
        (("local", -1), "--threads is -1"),
        (("local", 2, "10.0.0.1:6379"), "--ray-address is given without --engine ray"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        EngineChoice(*values)


def test_the_job_process_hears_the_choice():
    choice = EngineChoice("ray", 4, "10.0.0.1:6379")
    request = AnalysisRequest("b", ("x", "y"), Path("run"), engine=choice)
    assert runner._engine(runner._parser().parse_args(["analyze", *request.argv()])) == choice
    merge = ["merge", "--recipe", "r", "--run", "run", "-o", "out"]
    assert runner._engine(runner._parser().parse_args([*merge, *choice.argv()])) == choice
    assert runner._engine(runner._parser().parse_args(merge)) == EngineChoice()


def test_a_run_or_a_recipe_cannot_choose_the_cluster():
    with pytest.raises(SettingsError, match="unknown analysis setting 'ray_address'"):
        AnalysisSettings.from_dict({"ray_address": "10.0.0.1:6379"})


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("globa_tui.engine.open.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'globa-tui\[ray\]'"):
        open_engine(EngineChoice("ray"), "cpu")


def test_the_time_left_follows_the_pace_of_what_ended(monkeypatch):
    """Two workers end layers of cost 3 and 1 after ten seconds and after two more: four of cost in twelve seconds."""
    now = [0.0]
    monkeypatch.setattr("globa_tui.jobs.progress.time.monotonic", lambda: now[0])
    estimator = Estimator()
    assert estimator.left(5.0) is None
    estimator.begin()
    now[0] = 4.0
    estimator.begin()
    now[0] = 10.0
    assert estimator.end(3.0) == 10.0
    now[0] = 12.0
    assert estimator.end(1.0) == 2.0
    assert estimator.left(8.0) == pytest.approx(24.0)


def test_a_pause_does_not_count(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("globa_tui.jobs.progress.time.monotonic", lambda: now[0])
    estimator = Estimator()
    estimator.begin()
    now[0] = 5.0
    estimator.end(1.0)
    estimator.rest()
    now[0] = 1000.0
    estimator.begin()
    now[0] = 1005.0
    estimator.end(1.0)
    assert estimator.left(1.0) == pytest.approx(5.0)
