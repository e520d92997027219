"""Evaluations in a run: which tasks count, which merges, and what `suggest` makes of them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from globa_tui.evaluated import read_evaluated
from globa_tui.jobs.sources import sources_of
from globa_tui.recipe import Recipe
from globa_tui.suggest import suggest
from store.run import Run
from store.run.journal import EVALUATIONS, append_journal
from tests.cli.records import call, make_run

LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path))


def measured(run: Run, model: str, task: str, value: float | None, **changed: Any) -> None:
    kind = changed.pop("kind", "choice")
    metrics = {"first": {"value": 9.0}, "accuracy": {"value": value}} if kind == "choice" else {"own": {"value": value}}
    record = {
        "model": {"path": model, "sha256": "x"},
        "data": {"kind": kind, "name": task, "sha256": "y"},
        "settings": {"limit": None},
        "metrics": metrics,
        "time": LATER,
        **changed,
    }
    append_journal(run.path / EVALUATIONS, record)


def sources_measured(run: Run, task: str, *values: float) -> None:
    base, fine_tuned = sources_of(run.manifest)
    for path, value in zip((base, *fine_tuned), values, strict=True):
        measured(run, path, task, value)


def merged(folder: Path, run: Run, **changed: Any) -> str:
    """A folder with the recipe of a merge of the run's fine-tunes."""
    base, fine_tuned = sources_of(run.manifest)
    folder.mkdir()
    recipe = Recipe(**{"base": base, "fine_tuned": fine_tuned, "method": "ties", **changed})
    (folder / "globa_recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return str(folder)


def test_without_a_task_that_all_were_measured_on_there_is_nothing(run: Run) -> None:
    assert read_evaluated(run) is None
    base, fine_tuned = sources_of(run.manifest)
    measured(run, base, "t", 0.1)
    measured(run, fine_tuned[0], "t", 0.5)
    measured(run, fine_tuned[1], "t", 0.5, settings={"limit": 3})
    assert read_evaluated(run) is None, "measured in another way"
    measured(run, fine_tuned[1], "t", 0.5)
    assert read_evaluated(run) is not None


def test_the_best_evaluated_merge_is_suggested(run: Run, tmp_path: Path) -> None:
    sources_measured(run, "a", 0.1, 0.8, 0.2)
    sources_measured(run, "b", 0.2, 0.2, 0.5)
    for name, values in {"one": (0.4, 0.4), "two": (0.6, 0.4), "three": (0.8, 0.1)}.items():
        path = merged(tmp_path / name, run)
        for task, value in zip("ab", values, strict=True):
            measured(run, path, task, value)
    found = read_evaluated(run)
    assert found is not None
    assert found.best is not None
    assert found.best.path == str(tmp_path / "two")
    assert dict(found.best.shares) == pytest.approx({"a": 0.75, "b": 0.8})
    suggestion = suggest(str(run.path), run.records(), run.manifest["settings"], None, found)
    assert (suggestion.measured, suggestion.recipe.method) == (True, "ties")
    assert "two, the best of 3 evaluated merges (a sweep tries more), keeps a 0.750, b 0.800" in suggestion.reasons[2]
    assert "--method ties" in call("suggest", str(run.path)).out


def test_the_last_measurement_counts(run: Run, tmp_path: Path) -> None:
    sources_measured(run, "a", 0.1, 0.8, 0.2)
    path = merged(tmp_path / "one", run)
    for value in (0.2, 0.4):
        measured(run, path, "a", value)
    found = read_evaluated(run)
    assert found is not None
    assert [merge.score for merge in found.merges] == [pytest.approx(0.5)]


@pytest.mark.parametrize("fault", ["other sources", "younger", "link", "damaged", "missing", "half measured"])
def test_a_merge_whose_recipe_is_not_sure_does_not_count(run: Run, tmp_path: Path, fault: str) -> None:
    sources_measured(run, "a", 0.1, 0.8, 0.2)
    sources_measured(run, "b", 0.1, 0.8, 0.2)
    path = merged(tmp_path / "one", run, **({"base": "elsewhere"} if fault == "other sources" else {}))
    recipe = Path(path) / "globa_recipe.yaml"
    if fault == "younger":
        os.utime(recipe, (4e9, 4e9))
    elif fault == "link":
        recipe.symlink_to(recipe.rename(tmp_path / "elsewhere.yaml"))
    elif fault == "damaged":
        recipe.write_text("[", encoding="utf-8")
    elif fault == "missing":
        recipe.unlink()
    for task in "a" if fault == "half measured" else "ab":
        measured(run, path, task, 0.5)
    found = read_evaluated(run)
    assert found is not None
    assert found.merges == []


def test_a_fine_tune_that_brings_nothing_is_named(run: Run) -> None:
    sources_measured(run, "a", 0.3, 0.8, 0.3)
    sources_measured(run, "b", 0.3, 0.2, 0.1)
    reasons = " | ".join(suggest("run", run.records(), {}, None, read_evaluated(run)).reasons)
    assert "fine-tune 2 is no better than the base in a, b: leave it out" in reasons
    assert "fine-tune 1 is no better" not in reasons


def test_tasks_of_one_name_are_told_apart(run: Run) -> None:
    base, fine_tuned = sources_of(run.manifest)
    for digest in ("1", "2"):
        for path in (base, *fine_tuned):
            measured(run, path, "a", 0.5, data={"kind": "lm-eval", "name": "a", "sha256": digest}, kind="lm-eval")
    found = read_evaluated(run)
    assert found is not None
    assert dict(found.metrics) == {"a": "own", "a (2)": "own"}


def test_lines_of_strangers_are_left_out(run: Run) -> None:
    for line in ({}, {"model": 3}, {"model": {"path": 4}, "data": {}}, {"model": {"path": "x"}, "data": {"kind": []}}):
        append_journal(run.path / EVALUATIONS, line)
    assert read_evaluated(run) is None
