"""What every screen shows, in every state, at the sizes that people have."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from globa_tui.coefficients import PATTERNS
from globa_tui.jobs.protocol import write_status
from globa_tui.tui.widgets.pane import Pane
from globa_tui.tui.widgets.row_table import RowTable
from store.run import RunWriter
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import arrays, make_run, make_status, manifest, record

SIZES = [(80, 24), (120, 40)]


def running(run: Path) -> None:
    make_status(run, "running")


def paused(run: Path) -> None:
    make_status(run, "paused", eta_seconds=None)


def failed(run: Path) -> None:
    make_status(run, "failed", message="CUDA out of memory")


def died(run: Path) -> None:
    status = make_status(run, "running")
    write_status(run, replace(status, pid=4_000_000))


def lost(run: Path) -> None:
    status = make_status(run, "running")
    write_status(run, replace(status, heartbeat=time.time() - 125))


def lost_elsewhere(run: Path) -> None:
    status = make_status(run, "running")
    write_status(run, replace(status, host="gpu-box", heartbeat=time.time() - 500))


STATES: dict[str, tuple[Callable[[Path], None], str]] = {
    "none": (lambda run: None, "○ NO JOB 14/23 61% !! 1 failed"),
    "running": (running, "● RUN 16/26 52% !! 1 failed ETA 1h12m"),
    "paused": (paused, "‖ PAUSED 16/26 52%"),
    "failed": (failed, "✖ FAILED 16/26"),
    "died": (died, "✖ DIED 16/26"),
    "lost": (lost, "? LOST 16/26 52% !! 1 failed no heartbeat 2m00s"),
    "lost elsewhere": (lost_elsewhere, "? LOST 16/26"),
}


@pytest.mark.parametrize("size", SIZES)
async def test_header_tells_the_state_on_every_screen(partial_run: Path, size: tuple[int, int]) -> None:
    async with opened(partial_run, size) as (_, pilot):
        for state, (prepare, expected) in STATES.items():
            prepare(partial_run)
            for key in ("1", "2", "3", "4", "5") if state == "running" else ("5",):
                header = (await press(pilot, key)).splitlines()[0]
                assert expected in header, (state, header)
                assert "llama-base" in header or "LOST" in header


@pytest.mark.parametrize("size", SIZES)
async def test_overview(partial_run: Path, size: tuple[int, int]) -> None:
    async with opened(partial_run, size) as (app, _):
        text = screen_text(app)
    for expected in (
        "models/wizardmath",
        "✔ fits: 26 tensors, 23 of them matrices",
        "lm_head.weight not in ft2",
        "14 of 23 layers",
        "1 failed, the first is",
        "largest subspace overlap",
        "eta 0.95 0.8",
    ):
        assert expected in text, text


async def test_findings_in_words_follow_the_run(partial_run: Path) -> None:
    async with opened(partial_run, (120, 40)) as (app, pilot):
        assert "incomplete" in {finding.code for finding in app.findings}
        assert "1. " in app.screen.query_one("#words", Pane).plain
        make_run(partial_run, blocks=3, done=1.0)
        await settle(pilot)
        assert app.model.counts.pending == 0
        assert "incomplete" not in {finding.code for finding in app.findings}
        text = await press(pilot, "f")
        assert "fact: a fact about the files or the run" in text


@pytest.mark.parametrize("size", SIZES)
async def test_layers(partial_run: Path, size: tuple[int, int]) -> None:
    async with opened(partial_run, size) as (app, pilot):
        text = await press(pilot, "3")
        table = app.screen.query_one("#layers", RowTable)
        assert [column.key for column in table.columns][-1] == "status"
    assert "L0 self_attn.q_proj" in text
    assert "4096x4096" in text
    assert " ok" in text
    assert " !!" in text
    assert "26/26" in text
    assert len(text.splitlines()) <= size[1]
    rows = [line for line in text.splitlines() if line.startswith(" L2 mlp.up_proj")]
    if size[1] > 30:
        assert rows
        assert rows[0].rstrip().endswith("..")


@pytest.mark.parametrize("size", SIZES)
async def test_one_layer(partial_run: Path, size: tuple[int, int]) -> None:
    async with opened(partial_run, size) as (_, pilot):
        text = await press(pilot, "3", "j", "enter")
        assert "model.layers.0.self_attn.q_proj.weight" in text
        assert "relative size" in text
        assert "how far it moved" in text
        patterns = await press(pilot, "right_square_bracket")
        assert "inner product" in patterns or "energy: sum of squares" in patterns
        assert "█" in patterns
        spectrum = await press(pilot, "right_square_bracket")
        assert "singular value by rank" in spectrum
        assert "τ2" in spectrum
        energy = await press(pilot, "right_square_bracket")
        assert "1.00" in energy
        angles = await press(pilot, "right_square_bracket", "right_square_bracket")
        assert "80-90°" in angles


async def test_failed_layer_says_why(partial_run: Path) -> None:
    async with opened(partial_run) as (_, pilot):
        note = (await press(pilot, "3", "j", "j", "j")).splitlines()[-2]
        assert note.strip().startswith("!! NaN at row 3")
        log = partial_run / "jobs" / "analyze.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("started\nfailed: model.layers.0.self_attn.v_proj.weight\n  at the third row\x1b[2J\n")
        page = await press(pilot, "enter")
        assert "NaN at row 3; repair the file and resume" in page
        assert "R tries it again" in page
        assert "where it names this layer" in page
        assert r"at the third row\x1b[2J" in page
        assert "started" not in page
        job = await press(pilot, "5")
        assert "model.layers.0.self_attn.v_proj" in job
        assert "NaN at row 3" in job


@pytest.mark.parametrize("size", SIZES)
async def test_recipe(partial_run: Path, size: tuple[int, int]) -> None:
    async with opened(partial_run, size) as (_, pilot):
        text = await press(pilot, "4")
    assert "[x] C1" in text
    assert "[ ] D+" in text
    assert "opposite sign" in text
    assert "update norm |dW| / |dW1|" in text
    assert "14 of 23 layers" in text
    assert "cosine to fine-tune 2" in text


@pytest.mark.parametrize("size", SIZES)
async def test_job(partial_run: Path, size: tuple[int, int]) -> None:
    make_status(partial_run, "running")
    (partial_run / "jobs" / "analyze.log").write_text("a line of the log\n")
    async with opened(partial_run, size) as (_, pilot):
        text = await press(pilot, "5")
    assert f"pid {os.getpid()}" in text
    assert "model.layers.1.mlp.up_proj" in text
    assert "a line of the log" in text
    assert "Last finished" in text


async def test_complete_merge_shows_its_output(whole_run: Path) -> None:
    make_status(whole_run, "complete", kind="merge", output="/models/merged", message="merged 26 tensors", done=26)
    async with opened(whole_run) as (_, pilot):
        text = await press(pilot, "5")
    assert "-> /models/merged" in text
    assert "merged 26 tensors" in text


@pytest.mark.parametrize("size", [(60, 15), (79, 23), (200, 60)])
async def test_other_sizes_are_usable(partial_run: Path, size: tuple[int, int]) -> None:
    async with opened(partial_run, size) as (_, pilot):
        for key, expected in (("1", "Stands out"), ("2", "q_proj"), ("3", "Layer"), ("4", "Coef"), ("5", "Analysis")):
            text = await press(pilot, key)
            assert expected in text, text
            assert "needs 60x15" not in text


async def test_the_smallest_screen_shows_results_and_says_what_it_hides(partial_run: Path) -> None:
    async with opened(partial_run, (60, 15)) as (_, pilot):
        text = await press(pilot, "1")
        assert "Compared" not in text
        assert "E  " in text
        assert "largest subspace overlap" in text
        assert "! about the fit: f" in text
        assert "lm_head.weight not in ft2" in await press(pilot, "f", "end")
        text = await press(pilot, "escape", "4")
        assert all(word in text for word in ("kept 1", "kept 2", "cos 2", "opened", "now"))


@pytest.mark.parametrize("size", [(59, 24), (80, 14), (20, 5), (1, 1)])
async def test_too_small_says_so_and_recovers(partial_run: Path, size: tuple[int, int]) -> None:
    async with opened(partial_run) as (app, pilot):
        await pilot.resize_terminal(*size)
        await settle(pilot)
        text = screen_text(app)
        assert "Compared" not in text
        if size[0] > 40:
            assert f"needs 60x15, this is {size[0]}x{size[1]}" in text
            assert "NO JOB" in text
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "Compared" in screen_text(app)


async def test_a_screen_opened_when_too_small_recovers(partial_run: Path) -> None:
    async with opened(partial_run, (40, 10)) as (app, pilot):
        assert "needs 60x15" in await press(pilot, "3")
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "L0 self_attn.q_proj" in screen_text(app)


async def test_a_screen_behind_another_follows_the_size_too(partial_run: Path) -> None:
    async with opened(partial_run, (120, 40)) as (_, pilot):
        await press(pilot, "3", "j", "enter", "2", "4", "1")
        await pilot.resize_terminal(80, 24)
        behind = [await press(pilot, key) for key in ("2", "4", "3", "escape")]
    async with opened(partial_run, (80, 24)) as (_, pilot):
        fresh = [await press(pilot, *keys) for keys in (["2"], ["4"], ["3", "j", "enter"], ["escape"])]
    assert behind == fresh


async def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    run = make_run(tmp_path / "hostile.globa", blocks=1, done=1.0, hostile=True)
    async with opened(run) as (_, pilot):
        text = await press(pilot, "3", "G", "k")
        assert r"w[bold]x[/b]\x1b[2J\u202ey.weight" in text
        assert "\x1b" not in text
        assert r"w[bold]x[/b]\x1b[2J" in await press(pilot, "enter")


async def test_no_color_draws_every_screen(partial_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(partial_run, (120, 40)) as (_, pilot):
        for keys in (["1"], ["3"], ["j", "enter"], ["4"], ["P"], ["escape", "M"], ["escape", "5"], ["question_mark"]):
            assert await press(pilot, *keys)


async def test_damaged_records_leave_a_dash(tmp_path: Path) -> None:
    """A run that somebody tampered with is shown as far as it makes sense."""
    run = make_run(tmp_path / "odd.globa", blocks=1, done=0.0)
    wrong = {"status": "done", "error": None, "patterns": "x", "effect": {"labels": 3}, "rank": [None, "a"],
             "orthogonality": {"left": "NaN"}, "angles": {"left": 4}, "knee": [3], "norm": 1, "shape": None,
             "seconds": [], "relative_size": [float("nan")], "clusters": 2, "file": "layers/x.h5"}  # fmt: skip
    name = "model.layers.0.self_attn.q_proj.weight"
    lines = [{"index": 1, "name": name, **wrong}, {"index": 2, "name": "n", "status": "exploded"}]
    (run / "summary.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with opened(run, (120, 40)) as (_, pilot):
        for keys in (["1"], ["3"], ["j", "s", "enter"], ["4"], ["5"]):
            assert "GLOBA" in await press(pilot, *keys)


async def test_three_fine_tunes(tmp_path: Path) -> None:
    index = manifest(1)
    index["sources"].append({**index["sources"][2], "source": "models/prose", "path": "/models/prose"})
    with RunWriter.create_or_resume(tmp_path / "three.globa", index) as writer:
        for layer in index["layers"]:
            if layer["role"] == "matrix":
                writer.write_layer(with_third(record(layer)), arrays(layer))
    async with opened(tmp_path / "three.globa", (120, 40)) as (app, pilot):
        assert "Fine-tune 3" in screen_text(app)
        assert "GLOBA" in await press(pilot, "3", "s", "enter")
        text = await press(pilot, "4")
    assert "9 of 9 layers" in text
    assert "cosine to fine-tune 3" in text
    assert "energy of fine-tune 3 kept" in text


def with_third(made: dict[str, Any]) -> dict[str, Any]:
    """A record of three fine-tunes, the third like the second."""
    per_task = ("relative_size", "rank", "retained", "stable_rank", "effective_rank", "knee")
    more = {key: [*made[key], made[key][1]] for key in per_task}
    labels = ["C1", *(f"{name}@{task}" for task in (2, 3) for name in PATTERNS[1:])]
    effect = {
        "labels": labels,
        "gram": np.eye(len(labels)).tolist(),
        "cross": np.ones((len(labels), 3)).tolist(),
        "task_energy": [9.0, 9.0, 9.0],
    }
    return {**made, **more, "effect": effect, "norm": {"base": 5.0, "task_vectors": [3.0, 3.0, 3.0]}}
