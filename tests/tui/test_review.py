"""What the review of a merge says, and when it lets one start; sums that follow single changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from globa_tui.coefficients import PATTERNS
from globa_tui.effect import EffectTable
from globa_tui.tui.leaders import STANDOUTS, Leaders
from globa_tui.tui.metrics import BY_KEY, numbers_of
from globa_tui.tui.model import REMEMBERED, RunModel
from globa_tui.tui.screens.merge import MergeScreen
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import layers, manifest, record


async def test_review_tells_what_differs(whole_run: Path) -> None:
    async with opened(whole_run, (100, 30)) as (_, pilot):
        text = await press(pilot, "4", "j", "right", "t", "space", "M")
    assert "Method globa   preset readme with A 0 -> 0.05" in text
    assert "1 override, for 12 layers" in text
    assert "attn:A=0" in text
    assert "22 layers from the analysis, 3 others averaged, 1 failed" in text
    assert "v_proj.weight: NaN at row 3" in text


async def test_a_model_is_replaced_only_when_that_is_typed(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "merged"
    out.mkdir()
    (out / "config.json").write_text("{}")
    started: list[dict[str, Any]] = []
    async with opened(whole_run, (100, 30)) as (app, pilot):
        monkeypatch.setattr(app.disk, "start_merge", lambda recipe, out, **options: started.append(options))
        await press(pilot, "4", "M", "tab", "tab", "space")
        app.screen.query_one("#merge-out").value = str(out)  # type: ignore[attr-defined]
        await settle(pilot)
        assert "choose another name, or type overwrite below" in " ".join(screen_text(app).replace("│", " ").split())
        await press(pilot, "ctrl+s")
        assert isinstance(app.screen, MergeScreen)
        typed = app.screen.query_one("#merge-typed")
        typed.value = "over"  # type: ignore[attr-defined]
        await settle(pilot)
        await press(pilot, "ctrl+s")
        assert not started
        typed.value = "overwrite"  # type: ignore[attr-defined]
        await settle(pilot)
        assert "✔ ready" in screen_text(app)
        await press(pilot, "ctrl+s")
    assert started == [{"allow_failed": True, "overwrite": True}]


def test_sums_and_leaders_follow_single_changes() -> None:
    index = [layer for layer in layers(6) if layer["role"] == "matrix"]
    pending = [{**layer, "status": "pending"} for layer in index]
    model = RunModel(Path("run.globa"))
    model.load(manifest(6), pending, packed=False, stored=True)
    assert model.leaders.of("overlap") == []
    for place, layer in enumerate(index):
        model.put({place: record(layer)})
    model.put({3: {**pending[3], "status": "failed", "error": "x"}})
    fresh = RunModel(Path("run.globa"))
    fresh.load(manifest(6), model.records, packed=False, stored=True)
    assert model.counts == fresh.counts
    for name, (entries, energy) in fresh.pattern_totals().items():
        assert model.pattern_totals()[name] == (entries, pytest.approx(energy, rel=1e-12))
    whole = Leaders(model.records, fresh.numbers)
    assert model.leaders.failed == whole.failed == {3}
    assert all(model.leaders.of(key) == whole.of(key) for key, _ in STANDOUTS)


def test_numbers_computed_ahead_follow_what_changed_since() -> None:
    whole = [record(layer) for layer in layers(1) if layer["role"] == "matrix"]
    model = RunModel(Path("x"))
    model.load({}, whole, packed=False, stored=True)
    before, numbers = model.version, numbers_of("size", model.records)
    model.put({1: {**whole[1], "relative_size": [0.5, 0.25]}})
    assert model.take_numbers({"size": numbers}, before)
    assert model._numbers["size"][1] == 0.5
    assert model.numbers("size") == [BY_KEY["size"].value(found) for found in model.records]
    model.load({}, whole[:-1], packed=False, stored=True)
    assert not model.take_numbers({"rank": [0.0]}, before), "another run was opened since"
    assert "rank" not in model._numbers


def test_the_effect_gathered_ahead_follows_what_changed_since() -> None:
    whole = [record(layer) for layer in layers(2) if layer["role"] == "matrix"]
    pending = [{**layer, "status": "pending"} for layer in whole]
    model = RunModel(Path("x"))
    model.load(manifest(2), [*whole[:-1], pending[-1]], packed=False, stored=True)
    before, gathered = model.version, EffectTable.from_records(model.records, model.tasks, model.anchor)
    model.put({len(whole) - 1: whole[-1]})
    assert model.take_effect(gathered, before)
    assert model.effect is gathered
    fresh = EffectTable.from_records(whole, model.tasks, model.anchor)
    coefficients = np.ones((len(whole), len(PATTERNS)))
    assert gathered.estimate(coefficients) == fresh.estimate(coefficients)
    assert gathered.estimate(coefficients).layers == len(whole)


def test_changes_are_known_until_there_are_too_many() -> None:
    whole = [record(layer) for layer in layers(30) if layer["role"] == "matrix"]
    model = RunModel(Path("x"))
    model.load(manifest(30), whole, packed=False, stored=True)
    before = model.version
    assert model.changed_since(before) == set()
    model.put({1: whole[1], 2: whole[2]})
    model.put({2: whole[2], 5: whole[5]})
    assert model.changed_since(before) == {1, 2, 5}
    assert model.changed_since(before + 1) == {2, 5}
    model.load(manifest(30), whole, packed=False, stored=True)
    assert model.changed_since(before + 2) is None, "it is another index"
    before = model.version
    for _ in range(REMEMBERED + 1):
        model.put({1: whole[1]})
    assert model.changed_since(before) is None, "so much is not remembered"
    assert model.changed_since(before + 1) == {1}
    model.put(dict(enumerate(whole)))
    assert len(whole) > REMEMBERED
    assert model.changed_since(model.version - 1) is None, "so many are shown anew"
