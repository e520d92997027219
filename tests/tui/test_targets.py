"""Coefficients of parts of the model: on the screen, in the history, and in the estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from globa_tui.coefficients import PATTERNS, Coefficients, Override, Target
from globa_tui.effect import EffectTable, as_array
from globa_tui.recipe import Recipe, parse_coef
from globa_tui.resolve import LayerIndex
from globa_tui.tui.app import InspectApp
from globa_tui.tui.edits import RecipeEditor
from globa_tui.tui.screens.confirm import ConfirmScreen
from globa_tui.tui.targets import Selection, block_selection, kind_selection, layer_selection, parse_blocks
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import layers, record

INDEX = layers(4)
OVERRIDES = tuple(
    map(
        parse_coef,
        ("blocks 1-2:A=0.2", "q_proj:A=0.3,B=0.1", "attn:A=0.4,D-=0.5", "blocks 0-3:B=0.7", "blocks 2:E=0.25",
         "layer model.layers.2.self_attn.q_proj.weight:A=0.9", "layer nobody:A=2", "nothing:A=2"),
    )
)  # fmt: skip


def editor() -> RecipeEditor:
    return RecipeEditor(Recipe(run="run"), lambda: 0.0)


def recipe_of(app: InspectApp) -> Recipe:
    assert app.editor is not None
    return app.editor.recipe


# All layers at once


def test_array_is_what_resolve_says_layer_by_layer() -> None:
    recipe = Recipe(run="run", overrides=OVERRIDES)
    expected = np.stack([as_array(recipe.resolve(layer)) for layer in INDEX])
    assert np.array_equal(LayerIndex(INDEX).coefficients(recipe), expected)


def test_own_layers_are_those_that_an_override_names() -> None:
    recipe = Recipe(run="run", overrides=OVERRIDES)
    mask = LayerIndex(INDEX).own(recipe)
    expected = [any(override.target.matches(layer) for override in OVERRIDES) for layer in INDEX]
    assert mask.tolist() == expected


def test_estimate_with_overrides_is_the_sum_over_layers() -> None:
    matrices = [layer for layer in INDEX if layer["role"] == "matrix"]
    records = [record(layer) for layer in matrices]
    recipe = Recipe(run="run", overrides=OVERRIDES)
    table = EffectTable.from_records(records, 2)
    found = table.estimate(LayerIndex(matrices).coefficients(recipe))
    alone = [table.estimate(as_array(recipe.resolve(layer)), only=[place]) for place, layer in enumerate(matrices)]
    whole = np.array([np.square(each["norm"]["task_vectors"]) for each in records])
    squares = np.array([effect.update_norm**2 for effect in alone]) * whole[:, 0]
    assert found.update_norm == pytest.approx(np.sqrt(squares.sum() / whole[:, 0].sum()), rel=1e-12)
    for task in (0, 1):
        kept = sum(effect.kept[task] * size for effect, size in zip(alone, whole[:, task], strict=True))
        assert found.kept[task] == pytest.approx(kept / whole[:, task].sum(), rel=1e-12)
        inner = sum(
            effect.cosine[task] * np.sqrt(square * size)
            for effect, square, size in zip(alone, squares, whole[:, task], strict=True)
        )
        expected = inner / np.sqrt(squares.sum() * whole[:, task].sum())
        assert found.cosine[task] == pytest.approx(expected, rel=1e-12)


# Editing


def test_a_part_inherits_from_the_nearest_that_holds_all_of_it() -> None:
    edit = editor()
    edit.select(kind_selection("attn"))
    edit.set("A", 0.5)
    edit.select(kind_selection("q_proj"))
    value = edit.values()["A"]
    assert (value.number, value.own) == (0.5, False)
    edit.select(kind_selection("up_proj"))
    assert edit.value("A") == 0.0
    edit.select(block_selection(0, 7))
    edit.set("B", 0.25)
    edit.select(block_selection(2, 3))
    assert edit.value("B") == 0.25
    edit.select(block_selection(6, 9))
    assert edit.value("B") == 0.0


def test_clearing_inherits_again() -> None:
    edit = editor()
    edit.select(kind_selection("mlp"))
    edit.set("D-", 0.5)
    assert edit.values()["D-"].own
    assert edit.clear("D-") == "mlp: D- 0.5 -> 1"
    assert not edit.values()["D-"].own
    assert edit.recipe.overrides == ()
    assert edit.clear("D-") is None
    edit.select(Selection())
    assert edit.clear("D-") is None


def test_history_goes_across_targets() -> None:
    edit = editor()
    edit.set("A", 0.5)
    edit.select(kind_selection("q_proj"))
    edit.set("A", 1.0)
    edit.select(block_selection(0, 1))
    edit.toggle("C1")
    assert edit.undo() == "blocks 0-1: C1 1 -> 0"
    assert edit.undo() == "q_proj: A 0.5 -> 1"
    assert edit.undo() == "A 0 -> 0.5"
    assert edit.recipe == edit.saved
    for _ in range(3):
        edit.redo()
    assert edit.recipe.resolve({"name": "x", "kind": "q_proj", "block": 0}) == {
        **edit.saved.coefficients, "A": 1.0, "C1": 0.0,
    }  # fmt: skip


def test_layers_move_each_from_where_it_is() -> None:
    edit = editor()
    edit.select(layer_selection(INDEX[1:2]))
    edit.set("A", 0.5)
    edit.select(layer_selection(INDEX[1:3]))
    assert edit.values()["A"].mixed
    edit.nudge("A", 0.25)
    assert [edit.recipe.resolve(layer)["A"] for layer in INDEX[1:4]] == [0.75, 0.25, 0.0]


def test_thousands_of_layers_are_one_step() -> None:
    many = [{**INDEX[1], "name": f"layer{place}"} for place in range(5000)]
    edit = editor()
    edit.select(layer_selection(many))
    edit.set("E", 0.5)
    edit.set("A", 0.5)
    expected = tuple(Override(Target("layer", layer["name"]), Coefficients({"A": 0.5, "E": 0.5})) for layer in many)
    assert edit.recipe.overrides == expected
    edit.undo()
    edit.undo()
    assert edit.recipe == edit.saved


@pytest.mark.parametrize("text", ["", "x", "3-1", "4", "0-9", "1-", "-1", "1-2-3", "0.5"])
def test_wrong_blocks_are_told(text: str) -> None:
    with pytest.raises(ValueError, match="block"):
        parse_blocks(text, 3)


def test_blocks_are_read() -> None:
    assert parse_blocks(" 1 - 2 ", 3) == (1, 2)
    assert parse_blocks("3", 3) == (3, 3)


# On the screen


async def test_targets_in_turn(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        assert "target: whole model" in await press(pilot, "4")
        assert "target: attn" in await press(pilot, "t")
        text = await press(pilot, "j", "right")
        assert "+0.05*" in text
        assert "(+1)" in text
        assert "1 override, for 12 layers" in text
        assert "target: blocks 0-2" in await press(pilot, "t")
        assert "target: whole model" in await press(pilot, "t")
        assert "+0.05*" not in screen_text(app)
        assert recipe_of(app).overrides == (parse_coef("attn:A=0.05"),)


async def test_kind_and_range_are_chosen(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "4", "T")
        assert "q_proj" in text
        assert "3 layers" in text
        await press(pilot, "j", "j", "enter")
        assert recipe_of(app).overrides == ()
        text = screen_text(app)
        assert "target: mlp" in text or "target: embeddings" in text
        await press(pilot, "T", "end", "enter")
        assert "Blocks, of 0 to 2" in screen_text(app)
        assert "blocks go from 0 to 2" in await press(pilot, *["backspace"] * 3, *"0-9", "enter")
        await press(pilot, *["backspace"] * 3, *"1-2", "enter", "space")
        assert recipe_of(app).overrides == (parse_coef("blocks 1-2:C1=0"),)
        await press(pilot, "x")
        assert recipe_of(app).overrides == ()


async def test_filtered_layers_are_a_target(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "slash", *"down", "enter", "4", "t", "t", "t")
        assert "target: 3 layers" in screen_text(app)
        await press(pilot, "space")
    names = {override.target.name for override in recipe_of(app).overrides}
    assert names == {f"model.layers.{block}.mlp.down_proj.weight" for block in range(3)}


# Files


async def type_place(pilot: Any, place: Path) -> None:
    """Put a path into the line that asks for one."""
    pilot.app.screen.query_one("Input").value = str(place)
    await press(pilot, "enter")
    await settle(pilot)


async def test_recipe_is_saved_and_opened_again(whole_run: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine.yaml"
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "4", "t", "space", "w")
        await type_place(pilot, place)
        made = recipe_of(app)
        assert Recipe.read(place) == made
        await press(pilot, "u", "o")
        assert recipe_of(app).overrides == ()
        await type_place(pilot, place)
        assert recipe_of(app) == made
        await press(pilot, "u")
        assert recipe_of(app).overrides == ()
        await press(pilot, "w")
        await type_place(pilot, place)
        assert isinstance(app.screen, ConfirmScreen)
        await press(pilot, "n")
        assert Recipe.read(place) == made
        await press(pilot, "w")
        await type_place(pilot, place)
        await press(pilot, "y")
        await settle(pilot)
        assert Recipe.read(place) == recipe_of(app)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("coefficients: {Z: 1}", "unknown pattern 'Z'"),
        ("method: ties\nrun: x", "its method is ties"),
        ("[", "bad.yaml"),
    ],
)
async def test_a_recipe_that_cannot_be_used_is_told(whole_run: Path, tmp_path: Path, text: str, said: str) -> None:
    place = tmp_path / "bad.yaml"
    place.write_text(text)
    async with opened(whole_run, (120, 40)) as (app, pilot):
        before = recipe_of(app) if app.editor else None
        await press(pilot, "4", "o")
        await type_place(pilot, place)
        await settle(pilot)
        told = [notification.message for notification in app._notifications]
        assert any(said in message and "\n" not in message for message in told), told
        assert recipe_of(app) == before


async def test_the_command_is_written(whole_run: Path, tmp_path: Path) -> None:
    async with opened(whole_run) as (_, pilot):
        await press(pilot, "4", "space", "y", "w")
        await type_place(pilot, tmp_path / "merge.sh")
    assert (tmp_path / "merge.sh").read_text().startswith("globa-tui merge ")


def test_all_patterns_have_a_column() -> None:
    assert LayerIndex(INDEX).coefficients(Recipe(run="run")).shape == (1, len(PATTERNS))


async def test_layers_show_that_they_have_coefficients_of_their_own(whole_run: Path) -> None:
    async with opened(whole_run, (120, 40)) as (_, pilot):
        text = await press(pilot, "4", "t", "j", "right", "3", "g", "j")
        assert "Ovr" in text
        assert "recipe A=0.05" in text
        rows = [line for line in text.splitlines() if "q_proj" in line]
        assert all("*" in line for line in rows[:3])
        assert "recipe A=0.05" in await press(pilot, "enter")
