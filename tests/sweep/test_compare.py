"""Comparisons: every method is the merge it says, nothing is measured twice, and the table says what it cost."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from analysis.merge import METHODS
from globa_tui.jobs.compare import job
from globa_tui.jobs.compare.grids import GRIDS, entries
from globa_tui.jobs.compare.job import run_compare
from globa_tui.jobs.compare.settings import CompareRequest
from globa_tui.jobs.evaluation.loading import find_model, load_model
from globa_tui.jobs.evaluation.metrics import Reference
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sweep.model import SweepModel
from globa_tui.jobs.sweep.settings import SweepRequest
from globa_tui.recipe import Recipe
from store.run.journal import SWEEPS
from tests.cli.records import call

FEW = {name: METHODS[name] for name in ("task_arithmetic", "alignmerge_o")}


@pytest.fixture
def own_run(run, tmp_path):
    """A copy in which no other test has measured anything."""
    folder = tmp_path / "own"
    shutil.copytree(run, folder / run.name, ignore=shutil.ignore_patterns(SWEEPS, job.COMPARISONS))
    shutil.copy(run.parent / "code.txt", folder)
    return folder / run.name


@pytest.fixture
def request_(own_run, monkeypatch):
    monkeypatch.setattr(job, "METHODS", FEW)
    run = own_run
    data = (f"code={run.parent / 'code.txt'}",)
    settings = EvaluationSettings(window=64, generate=False, limit=2)
    return CompareRequest(SweepRequest(run, data, test=(f"again={run.parent / 'code.txt'}",), settings=settings), 2)


def test_a_comparison_is_of_the_merges_it_says(request_, tmp_path, monkeypatch):
    shown = {}
    real = SweepModel.show_with

    def watch(model, merge):
        real(model, merge)
        shown["last"] = {name: value.clone() for name, value in model._model.state_dict().items()}
        shown.setdefault("all", []).append(shown["last"])

    monkeypatch.setattr(SweepModel, "show_with", watch)
    found = run_compare(request_)
    lines = found.tuning.lines
    assert [(line.method, line.setting) for line in lines if line.method != "globa"] == [
        ("task_arithmetic", "defaults"),
        ("task_arithmetic", "scale=0.6"),
        ("alignmerge_o", "defaults"),
        ("alignmerge_o", "scale=0.6"),
    ]
    # Two sets of tasks show the three sources first; of the methods the first pass is over the tuning data.
    for line, weights in zip([la for la in lines if la.method != "globa"], shown["all"][6:], strict=False):
        run_merge(Recipe.from_dict(line.recipe), tmp_path / line.method / line.setting)
        merged = load_model(find_model(str(tmp_path / line.method / line.setting)), torch.device("cpu"), torch.float32)
        for name, value in merged[0].state_dict().items():
            assert torch.equal(value, weights[name]), (line.method, line.setting, name)
    assert all(line.drift > 0 and line.farthest and line.seconds >= 0 for line in lines)
    assert found.tuning.score(found.winner) == max(map(found.tuning.score, lines))
    assert found.test is not None
    assert {"task_arithmetic", "alignmerge_o", "globa"} == set(found.test.best())
    monkeypatch.setattr(SweepModel, "show_with", lambda *_: pytest.fail("made a merge again"))
    monkeypatch.setattr(SweepModel, "show", lambda *_: pytest.fail("made a merge again"))
    assert run_compare(request_) == found


def test_the_command_prints_a_table_and_json(request_, run, tmp_path):
    words = ("compare", str(run), "--data", f"code={run.parent / 'code.txt'}", "--window", "64", "--limit", "2")
    result = call(*words, "--budget", "1", "--recipe", str(tmp_path / "best.yaml"), "-q")
    assert result.code == 0, result.err
    assert result.out.splitlines()[0].split()[:4] == ["method", "setting", "score", "loss"]
    found = json.loads(call(*words, "--budget", "1", "--score", "gain", "-q", "--json").out)
    assert {line["method"] for line in found["tuning"]["merges"]} == {*FEW, "globa"}
    Recipe.read(tmp_path / "best.yaml")


def test_grids_are_of_methods_and_values_that_there_are():
    assert set(GRIDS) == set(METHODS)
    for name, method in METHODS.items():
        for entry in entries(name, 99, 2):
            method.complete(dict(entry.params), 2)
        assert entries(name, 1, 2)[0].label == "defaults"
    assert entries("slerp", 9, 3) == []
    assert all("weight" not in dict(entry.params) for entry in entries("linear", 9, 3))
    with pytest.raises(SettingsError, match="--budget"):
        CompareRequest(None, 0)  # type: ignore[arg-type]


def test_a_gain_is_over_the_base():
    bits = Reference("bits_per_byte", 2.0, 1.0)
    assert bits.share(1.0, "gain") == bits.share(1.0, "share") == 1.0
    assert (bits.share(2.0, "gain"), bits.share(2.0, "share")) == (0.0, 0.5)
    assert bits.share(4.0, "gain") == -0.5
    assert Reference("accuracy", 0.5, 0.5).share(0.7, "gain") == 0.0
