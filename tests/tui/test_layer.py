"""The page of one layer: its pictures, and that a metric is one entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from globa_tui.tui import metrics
from globa_tui.tui.ink import GLYPHS
from globa_tui.tui.metric import Metric
from globa_tui.tui.pictures import CODES, PairPicture, array_names, pair_picture, resampled
from globa_tui.tui.screens.layer import LayerScreen
from globa_tui.tui.widgets.picture import TYPE_LETTERS, UPPER_HALF, Picture, type_shades
from store.run import RunWriter
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import arrays, make_status, manifest, record
from tests.tui.test_screens import with_third

SIZES = [(80, 24), (120, 40), (60, 15)]
TO_TYPES = ["right_square_bracket"] * 4
TO_ALIGNMENT = ["right_square_bracket"] * 6


@pytest.fixture(autouse=True)
def many_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")


# Pictures


def test_grids_keep_or_shrink_or_grow_by_whole_numbers() -> None:
    grid = ((0.0, 1.0), (2.0, 3.0))
    assert resampled(grid, 2, 2) == grid
    assert resampled(grid, 5, 4) == ((0, 0, 1, 1), (0, 0, 1, 1), (2, 2, 3, 3), (2, 2, 3, 3))
    assert resampled(grid, 1, 2) == ((2.0, 3.0),)
    assert resampled(grid, 1, 1) == ((3.0,),)
    assert resampled((), 3, 3) == ()
    assert resampled(grid, 0, 3) == ()


def test_codes_that_fall_together_show_the_one_that_occurs_most() -> None:
    assert resampled(((0.0, 0.0, 0.0, 5.0, 4.0, 4.0),), 1, 1, largest=False) == ((4.0,),)
    assert resampled(((0.0, 0.0),), 1, 1, largest=False) == ((0.0,),)


@pytest.mark.parametrize(
    "wrong", [None, np.zeros(3), np.zeros((0, 4)), np.array([["x"]]), np.zeros((2, 2, 2)), np.zeros((1, 1), complex)]
)
def test_arrays_of_another_form_are_left_out(wrong: Any) -> None:
    found = pair_picture(2, {"type_map": wrong, "alignment/similarity": wrong})
    assert found == PairPicture(2)
    assert pair_picture(2, {"alignment/left": np.zeros((2, 2))}).left == ()


def test_hostile_numbers_stay_inside_the_scale() -> None:
    found = pair_picture(
        3,
        {
            "type_map": np.full((900, 900), 255, np.uint8),
            "alignment/left": np.array([np.nan, np.inf, -4.0]),
            "alignment/similarity": np.array([[np.nan, 99.0]]),
        },
    )
    assert len(found.types) == len(found.types[0]) == 256
    assert max(max(row) for row in found.types) == len(CODES) - 1
    assert found.left == (0.0, 1.0, 0.0)
    assert found.similarity == ((0.0, 2.0),)


def test_arrays_of_several_pairs_carry_their_number() -> None:
    present = {"type_map/2", "type_map/3", "alignment/left/3", "spectrum/1"}
    assert array_names(present, 1, 3) == {
        2: {"type_map": "type_map/2"},
        3: {"type_map": "type_map/3", "alignment/left": "alignment/left/3"},
    }
    assert array_names({"type_map"}, 1, 2) == {2: {"type_map": "type_map"}}
    assert array_names({"type_map"}, 2, 2) == {1: {"type_map": "type_map"}}


def test_every_type_has_a_colour_and_a_letter() -> None:
    assert len(CODES) == len(TYPE_LETTERS) == len(type_shades(True)) == len(set(TYPE_LETTERS))
    assert len({shade.style.bgcolor for shade in type_shades(True)}) == len(CODES)


# Panes


def running(run: Path) -> None:
    make_status(run, "running")


def complete(run: Path) -> None:
    make_status(run, "complete", done=23, total=23)


def failed(run: Path) -> None:
    make_status(run, "failed", message="disk full")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", [running, complete, failed])
@pytest.mark.parametrize("no_color", [False, True])
async def test_types_and_alignment(
    partial_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    state: Callable[[Path], None],
    no_color: bool,
) -> None:
    state(partial_run)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    async with opened(partial_run, size) as (_, pilot):
        types = await press(pilot, "3", "j", "enter", *TO_TYPES)
        alignment = await press(pilot, *TO_ALIGNMENT[:2])
    for text in (types, alignment):
        assert len(text.splitlines()) <= size[1]
        assert max(map(len, text.splitlines())) <= size[0]
    assert "strongest type of τ2 per tile" in types
    if no_color:
        body = "\n".join(types.splitlines()[5:-5])
        assert set(TYPE_LETTERS) - set(body) <= {"·"}
    else:
        assert UPPER_HALF in types or size[1] == 40
        assert "D+" in types
    assert "rank  outputs" in alignment
    assert "  1  1.00" in alignment
    if size[0] >= 80:
        assert "(u·u')² + (v·v')²" in alignment
        assert bool(set(alignment.splitlines()[-4]) & set(GLYPHS[:3])) or not no_color


async def test_a_layer_without_pictures_says_so(partial_run: Path) -> None:
    async with opened(partial_run) as (_, pilot):
        text = await press(pilot, "3", "G", "k", "k", "enter", *TO_TYPES)
        assert "No type map for this layer." in text
        assert "No alignment for this layer." in await press(pilot, *TO_ALIGNMENT[:2])
        assert "There is one pair only." in await press(pilot, "v")


async def test_pictures_follow_the_size(partial_run: Path) -> None:
    async with opened(partial_run) as (app, pilot):
        await press(pilot, "3", "j", "enter", *TO_TYPES)
        picture = app.screen.query_one("#types-picture", Picture)
        for size in ((120, 40), (60, 15), (200, 60), (30, 8), (80, 24)):
            await pilot.resize_terminal(*size)
            await settle(pilot)
            drawn = picture._drawn if picture.size else ()
            assert len(drawn) <= 2 * picture.size.height
            assert all(len(row) <= max(picture.size.width, 0) for row in drawn)
        assert "strongest type" in screen_text(app)


async def test_scrolling_the_ranks(partial_run: Path) -> None:
    async with opened(partial_run, (60, 15)) as (_, pilot):
        before = await press(pilot, "3", "j", "enter", *TO_ALIGNMENT)
        after = await press(pilot, *["j"] * 9)
        assert before != after
        assert before == await press(pilot, *["k"] * 9)


async def test_a_large_terminal_has_two_pages(partial_run: Path) -> None:
    async with opened(partial_run, (120, 40)) as (_, pilot):
        first = await press(pilot, "3", "j", "enter")
        assert all(word in first for word in ("relative size", "Patterns", "singular value by rank", "rank r"))
        second = await press(pilot, *TO_TYPES)
        assert all(word in second for word in ("strongest type", "80-90°", "rank  outputs"))
        assert "relative size" not in second


async def test_pairs_of_three_fine_tunes_are_stepped_through(tmp_path: Path) -> None:
    index = manifest(1)
    index["sources"].append({**index["sources"][2], "source": "models/prose", "path": "/models/prose"})
    layer = index["layers"][1]
    made = arrays(layer)
    names = ["type_map", "alignment/left", "alignment/right", "alignment/similarity"]
    stored = {f"{name}/{task}": made[name] for name in names for task in (2, 3)}
    with RunWriter.create_or_resume(tmp_path / "three.globa", index) as writer:
        writer.write_layer(with_third(record(layer)), {"spectrum/1": made["spectrum/1"], **stored})
    async with opened(tmp_path / "three.globa") as (app, pilot):
        assert "type of τ2" in await press(pilot, "3", "j", "enter", *TO_TYPES)
        assert "type of τ3" in await press(pilot, "v")
        assert "type of τ2" in await press(pilot, "v")
        assert isinstance(app.screen, LayerScreen)


# One entry


@pytest.fixture
def extra_metric() -> Iterator[Metric]:
    """A metric of an issue that is not written yet, reading keys of the record that nothing else knows."""
    extra = Metric(
        "drift",
        "Drift%",
        "representation drift",
        "how far activations move, in %",
        lambda record: (((record.get("representation") or {}).get("drift") or {}).get("mean"),),
        metrics.percent,
    )
    metrics.register(extra)
    yield extra
    metrics.unregister("drift")


async def test_adding_a_metric_is_one_entry(tmp_path: Path, extra_metric: Metric) -> None:
    """It is in the table, its sorting and filter, on the map and its list, and on the page of the layer."""
    index = manifest(1)
    with RunWriter.create_or_resume(tmp_path / "drift.globa", index) as writer:
        for layer in index["layers"][1:8]:
            drift = {"representation": {"drift": {"mean": layer["index"] / 100}}}
            writer.write_layer(record(layer) | drift, arrays(layer))
    async with opened(tmp_path / "drift.globa", (120, 40)) as (app, pilot):
        text = await press(pilot, "3", "v", "end", "enter")
        assert "Drift%↓" in text
        assert list(app.order[:7]) == [7, 6, 5, 4, 3, 2, 1]
        assert " 7.0 " in text.splitlines()[3]
        assert "2/10" in await press(pilot, "slash", *"drift>5", "enter")
        assert "representation drift" in await press(pilot, "enter")
        text = await press(pilot, "escape", "escape", "2")
        assert "how far activations move" in text
        assert "1.0%" in text
        assert "7.0%" in text
        text = await press(pilot, "v")
        assert "representation drift" in text
