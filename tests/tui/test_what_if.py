"""Other thresholds in the interface: every screen follows, exactly, and comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.app import InspectApp
from globa_tui.tui.cleaning import clean_record
from globa_tui.tui.metrics import BY_KEY
from globa_tui.tui.what_if import at_etas, grid_points
from store.run import Run, RunWriter
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import ETAS, layers, make_run, record, what_if_grid, write_layer
from tests.tui.fake_run import manifest as fake_manifest


def energies(app: InspectApp) -> list[float]:
    return [app.model.pattern_totals()[name][1] for name in PATTERNS]


async def test_every_sum_follows_and_comes_back(whole_run: Path) -> None:
    run = Run.open(whole_run)
    done = [one["index"] for one in run.records() if one["status"] == "done"]
    wanted = np.sum([run.arrays(index, ["what_if"])["what_if"][1, 4, 2] for index in done], axis=0)
    async with opened(whole_run, (120, 40)) as (app, pilot):
        before, overview = energies(app), screen_text(app)
        finished = list(app.finished)
        await press(pilot, "i")
        await press(pilot, "end", "k", "k", "enter")
        assert app.what_if == (0.99, 0.9)
        assert energies(app) == pytest.approx(wanted.tolist())
        text = screen_text(app)
        assert "what if eta 0.99 / 0.9" in text
        assert "keep 0.95 / 0.8" in text
        shares = {line for line in text.splitlines() if "opposite sign" in line}
        assert shares
        assert not shares & set(overview.splitlines())
        for screen in "234":
            assert "what if eta 0.99 / 0.9" in await press(pilot, screen)
        assert list(app.finished) == finished, "nothing was analysed anew"
        await press(pilot, "1", "i", "home")
        await press(pilot, "enter")
        assert app.what_if is None
        assert energies(app) == pytest.approx(before)
        assert screen_text(app) == overview


async def test_layers_that_arrive_are_shown_at_the_same_thresholds(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run.globa", blocks=1, done=0.5)
    whole = json.loads((path / "run.json").read_text())
    async with opened(path) as (app, pilot):
        app.show_at((0.7, 0.7))
        await settle(pilot)
        with RunWriter.create_or_resume(path, whole) as writer:
            left = [layer for layer in whole["layers"] if layer["index"] not in writer.finished]
            new = next(layer for layer in left if layer["role"] == "matrix" and layer["index"] > 3)
            write_layer(writer, new)
        await settle(pilot)
        shown = app.model.records[new["index"]]["patterns"]["A"]["energy"]
        assert shown == pytest.approx(record(new)["patterns"]["A"]["energy"] * (1 - 3 * 0.05 - 0.05))


def test_a_layer_without_the_point_shows_no_patterns(tmp_path: Path) -> None:
    """Nor does one whose file is gone, or whose array has another shape."""
    run = Run.open(make_run(tmp_path / "run.globa", blocks=1, done=1.0))
    record = clean_record(run.record(0))
    assert set(at_etas(run, record, (0.9, 0.9), 1)["patterns"]) == set(PATTERNS)
    for broken in ({"eta": [[0.9]]}, {"eta": 3}, {"eta": [[0.9], "x"]}, None, {"eta": [[0.5], [0.5]]}):
        assert "patterns" not in at_etas(run, {**record, "what_if": broken}, (0.9, 0.9), 1)
    (run.path / run.record(0)["file"]).unlink()
    assert "patterns" not in at_etas(run, record, (0.9, 0.9), 1)


def test_retained_energy_is_that_of_the_point(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path / "run.globa", blocks=1, done=1.0))
    record = clean_record(run.record(0))
    shown = at_etas(run, record, (0.9, 0.99), 1)
    energy = [cell["energy"] for cell in shown["patterns"].values()]
    whole = record["effect"]["task_energy"]
    assert BY_KEY["retained"].values(shown) == pytest.approx([energy[0] / whole[0], sum(energy[1:]) / whole[1]])


def test_several_others_are_added_up(tmp_path: Path) -> None:
    """With three fine-tunes each has a grid against the anchor; the points are those that the others share."""
    index = fake_manifest(1)
    index["sources"].append({"role": "fine_tuned", "source": "models/law", "path": "/", "files": []})
    layer = layers(1)[0]
    made = {**record(layer), "what_if": {"eta": [list(ETAS), [0.5, *ETAS], list(ETAS)]}}
    grid = what_if_grid(made["patterns"])
    wide = type(grid)(grid.values[:, :, [0, 0, 1, 2, 3, 4]], grid.unit, grid.description, grid.dims)
    with RunWriter.create_or_resume(tmp_path / "run.globa", index) as writer:
        writer.write_layer(made, {"what_if/2": wide, "what_if/3": grid})
    run = Run.open(tmp_path / "run.globa")
    points = grid_points([clean_record(one) for one in run.records()], 1)
    assert points == [(one, two) for one in ETAS for two in ETAS]
    shown = at_etas(run, clean_record(run.record(0)), (0.95, 0.8), 1)["patterns"]
    own = made["patterns"]
    assert shown["E"]["energy"] == pytest.approx(2 * own["E"]["energy"])
    assert shown["C1"]["energy"] == pytest.approx(own["C1"]["energy"])


async def test_a_run_without_grids_says_so(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run.globa", blocks=1, done=0.0)
    async with opened(path) as (app, pilot):
        assert "No layer with a grid" in await press(pilot, "i")
        assert len(app.screen_stack) == 1
