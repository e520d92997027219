"""What the keys do, driven through the app."""

from __future__ import annotations

from pathlib import Path

import pytest

from globa_tui.coefficients import PATTERNS
from globa_tui.jobs.protocol import read_control
from globa_tui.recipe import Recipe
from globa_tui.tui.app import InspectApp
from globa_tui.tui.widgets.row_table import RowTable
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import make_run, make_status


def table(app: InspectApp) -> RowTable:
    return app.screen.query_one("#layers", RowTable)


def shown_names(app: InspectApp) -> list[str]:
    return [str(app.model.records[index]["name"]) for index in table(app).rows]


async def test_moving_in_the_table(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3")
        for keys, expected in (
            (["j", "down"], 2),
            (["k"], 1),
            (["up", "up", "up"], 0),
            (["G"], 25),
            (["j"], 25),
            (["g"], 0),
            (["ctrl+d"], 17),
            (["ctrl+u"], 0),
            (["end"], 25),
            (["home"], 0),
        ):
            await press(pilot, *keys)
            assert table(app).key == expected, keys


async def test_filter_narrows_and_escape_clears(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "j", "j")
        text = await press(pilot, "slash", "m", "l", "p", "space", "d", "o", "w", "n")
        assert "3/26" in text
        assert shown_names(app) == [f"model.layers.{block}.mlp.down_proj.weight" for block in range(3)]
        await press(pilot, "enter")
        assert app.focused is table(app)
        assert "/mlp down" in (await press(pilot, "j"))
        text = await press(pilot, "escape")
        assert "26/26" in text
        assert "/mlp" not in text
        assert app.is_running


async def test_filter_without_a_match_says_so(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "3", "slash", "left_square_bracket", "x", "enter")
        assert "0 of 26 match '[x'. esc clears." in text
        await press(pilot, "enter", "s", "S", "n", "j", "G")
        assert table(app).key is None


async def test_letters_type_into_the_filter(whole_run: Path) -> None:
    """Digits and letters that are keys elsewhere are text here."""
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "slash", *"q134psScM", "question_mark", "colon")
        assert app.current_mode == "layers"
        assert "/q134psScM?:" in screen_text(app)


async def test_filter_by_numbers_blocks_and_states(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "3", "slash", *"mlp D->10", "enter")
        expected = [
            found["name"]
            for found in app.model.records
            if "mlp" in found["name"] and found.get("patterns") and found["patterns"]["D-"]["energy"] > 0.2
        ]
        assert shown_names(app) == expected
        assert f"/mlp D->10 {len(expected)}/26" in text
        for typed, kept in (("block:1-2", 16), ("kind:q_proj", 3), ("!failed", 1), ("qproj", 3), ("rank>0 block:0", 6)):
            await press(pilot, "escape", "slash", *typed, "enter")
            assert len(table(app).rows) == kept, typed


async def test_a_filter_that_cannot_be_read_says_so_and_keeps_the_last_one(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "slash", *"mlp", "enter")
        text = await press(pilot, "slash", "space", *"!x")
        assert "!x: the statuses are !done !failed" in text
        assert "Shown is the filter 'mlp'." in text
        assert "9/26" in text
        await press(pilot, "enter")
        assert app.focused is not table(app)
        text = await press(pilot, "backspace", *"pend", "enter")
        assert "0 of 26 match 'mlp !pend'. esc clears." in text
        assert "the statuses are" not in text
        assert app.focused is table(app)
        assert "rank>: write a number behind >" in await press(pilot, "slash", "space", *"rank>")
        text = await press(pilot, "escape")
        assert "26/26" in text
        assert "write a number" not in text


async def test_marks(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "3", "j", "space", "space")
        assert app.marks == {1, 2}
        assert table(app).key == 3
        assert "◆ L0 self_attn.k_proj" in text
        assert "2 marked" in text
        await press(pilot, "k", "space")
        assert app.marks == {1}
        assert shown_names(app)[8].endswith("layernorm.weight")
        await press(pilot, "G", "k", "space")
        assert app.marks == {1}, "a norm has no coefficients"
        await press(pilot, "slash", *"block:1", "enter", "asterisk")
        assert app.marks == {1, *range(9, 16)}
        text = await press(pilot, "escape", "slash", *"!marked", "enter")
        assert "8 marked /!marked 8/26" in text
        await press(pilot, "space")
        assert len(table(app).rows) == 7
        await press(pilot, "asterisk")
        assert not app.marks
        assert "0 of 26 match '!marked'" in screen_text(app)


async def test_recipe_of_the_marks(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "3", "j", "space", "space", "r")
        assert app.current_mode == "recipe"
        assert "2 layers" in text
        await press(pilot, "j", "right")
        assert app.editor is not None
        targets = [str(override.target) for override in app.editor.recipe.overrides]
        assert targets == [f"layer model.layers.0.self_attn.{kind}_proj.weight" for kind in "qk"]
        await press(pilot, "2", "asterisk", "asterisk", "down", "down", "down", "r")
        assert app.editor.selection.targets[0].name == "model.layers.0.self_attn.o_proj.weight"


async def test_the_metric_of_the_table(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "3", "m", "m", "m", "m", "m", "m", "m")
        assert "sort OvL↓" in text
        assert "OvL↓" in text.splitlines()[2]
        left = [found["orthogonality"]["left"] for index in table(app).rows
                if (found := app.model.records[index]).get("orthogonality")]  # fmt: skip
        assert left == sorted(left, reverse=True)
        assert "sort E%" in await press(pilot, "b")
        text = await press(pilot, "v", "end", "enter")
        assert "sort Secs↓" in text
        assert "time" in await press(pilot, "2")


async def test_sorting_is_by_number_and_keeps_the_row(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "j", "j")
        text = await press(pilot, "s")
        assert "sort Ovlp↓" in text
        values = [app.model.records[index].get("orthogonality") for index in table(app).rows]
        known = [value["left"] + value["right"] for value in values if value]
        assert known == sorted(known, reverse=True)
        assert all(values[: len(known)])
        assert table(app).key == 2
        assert "sort Ovlp↑" in await press(pilot, "S")
        known = [value["left"] + value["right"] for index in table(app).rows
                 if (value := app.model.records[index].get("orthogonality"))]  # fmt: skip
        assert known == sorted(known)
        assert table(app).key == 2
        await press(pilot, *["s"] * 7)
        assert list(table(app).rows) == list(range(26))


async def test_next_failed_goes_round(tmp_path: Path) -> None:
    run = make_run(tmp_path / "two.globa", blocks=6, done=1.0)
    async with opened(run) as (app, pilot):
        await press(pilot, "3", "n")
        assert table(app).key == 3
        await press(pilot, "n")
        assert table(app).key == 43
        await press(pilot, "n")
        assert table(app).key == 3
        await press(pilot, "N")
        assert table(app).key == 43


async def test_stepping_through_layers_follows_the_table(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "slash", *"down", "enter", "enter")
        assert "model.layers.0.mlp.down_proj" in screen_text(app)
        assert "model.layers.1.mlp.down_proj" in await press(pilot, "full_stop")
        assert "model.layers.2.mlp.down_proj" in await press(pilot, "full_stop", "full_stop")
        assert "model.layers.1.mlp.down_proj" in await press(pilot, "comma")
        await press(pilot, "escape")
        assert "/down" in screen_text(app)


async def test_back_leads_to_the_top_and_quit_leaves(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "enter", "q")
        assert app.current_mode == "layers"
        assert len(app.screen_stack) == 1
        await press(pilot, "escape")
        assert app.is_running
        await pilot.press("q")
        await pilot.pause()
        assert app.return_code == 0


async def test_a_screen_key_closes_what_lies_over_it(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "enter", "4", "3")
        assert "relative size" in screen_text(app)
        await press(pilot, "3")
        assert len(app.screen_stack) == 1


async def test_mouse_selects_opens_and_sorts(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3")
        await pilot.click("#layers", offset=(4, 3))
        await settle(pilot)
        assert table(app).key == 2
        await pilot.click("#layers", offset=(4, 3))
        await settle(pilot)
        assert "relative size" in screen_text(app)
        await press(pilot, "escape")
        place = screen_text(app).splitlines()[2].index("Ovlp")
        await pilot.click("#layers", offset=(place, 0))
        await settle(pilot)
        assert "sort Ovlp↓" in screen_text(app)
        await pilot.click("#tabs", offset=(39, 0))
        await settle(pilot)
        assert app.current_mode == "recipe"


# Recipe


def coefficients(app: InspectApp) -> dict[str, float]:
    assert app.editor is not None
    return dict(app.editor.recipe.coefficients)


async def test_recipe_keys(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "4", "j", "right", "right", "l")
        assert coefficients(app)["A"] == 0.15
        assert "+0.15" in text
        assert "4 Recipe*" in text
        await press(pilot, "h", "left")
        assert coefficients(app)["A"] == 0.05
        await press(pilot, "greater_than_sign", "greater_than_sign", "less_than_sign")
        assert coefficients(app)["A"] == 0.3
        await press(pilot, "k", "space")
        assert coefficients(app)["C1"] == 0.0
        await press(pilot, "space")
        assert coefficients(app)["C1"] == 1.0
        text = await press(pilot, "u", "u", "u")
        assert coefficients(app)["A"] == 0.0
        assert "Undone: A 0 -> 0.3" in text
        assert "4 Recipe*" not in text
        await press(pilot, "U")
        assert coefficients(app)["A"] == 0.3


async def test_typing_a_coefficient(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "4", "j", "enter")
        assert "Coefficient of A, from -2 to 2" in text
        await press(pilot, "backspace", *"0.35", "enter")
        assert coefficients(app)["A"] == 0.35
        await press(pilot, "equals_sign", *["backspace"] * 4)
        for typed, answer in (("9", "outside -2 to 2"), ("x", "is not a number"), ("nan", "outside")):
            assert answer in await press(pilot, *typed, "enter")
            await press(pilot, *["backspace"] * len(typed))
        await press(pilot, "escape")
        assert coefficients(app)["A"] == 0.35


async def test_presets(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "4", "P")
        assert "● readme" in text
        assert "math-instruct-7b" in text
        await press(pilot, "j", "enter")
        assert coefficients(app) == dict.fromkeys(PATTERNS, 1.0)
        await press(pilot, "P", "escape", "u")
        assert coefficients(app)["A"] == 0.0


async def test_command_is_shown_and_copied(whole_run: Path) -> None:
    async with opened(whole_run, (120, 40)) as (app, pilot):
        text = await press(pilot, "4", "j", "space", "y")
        assert "globa-tui merge" in text
        assert "C1=1,A=1,B=0" in text.replace("\n", "")
        assert app.clipboard.startswith("globa-tui merge ")
        await press(pilot, "escape")
        assert app.current_mode == "recipe"


async def test_recipe_is_kept_beside_the_run(whole_run: Path) -> None:
    kept = whole_run / "recipes" / "current.yaml"
    async with opened(whole_run) as (_, pilot):
        await press(pilot, "4")
        assert not kept.exists()
        await press(pilot, "j", "right")
    assert Recipe.read(kept).coefficients["A"] == 0.05
    async with opened(whole_run) as (app, pilot):
        assert coefficients(app)["A"] == 0.05


async def test_kept_recipe_leads_nowhere_else(whole_run: Path) -> None:
    """A recipe in a stranger's run changes coefficients, never which files are merged."""
    kept = whole_run / "recipes" / "current.yaml"
    kept.parent.mkdir()
    kept.write_text("run: /elsewhere.globa\nbase: /etc\nfine_tuned: [/root]\ncoefficients: {A: 0.5}\n")
    async with opened(whole_run) as (app, _):
        assert app.editor is not None
        assert (app.editor.recipe.run, app.editor.recipe.base) == (str(whole_run), None)
        assert app.editor.recipe.fine_tuned == ()
        assert coefficients(app)["A"] == 0.5


async def test_broken_recipe_is_told_and_left_alone(whole_run: Path) -> None:
    kept = whole_run / "recipes" / "current.yaml"
    kept.parent.mkdir()
    kept.write_text("coefficients: {Z: 1}\n")
    async with opened(whole_run) as (app, _):
        assert "unknown pattern 'Z'" in app.troubles["recipe"]
        assert coefficients(app)["C1"] == 1.0
    assert kept.read_text() == "coefficients: {Z: 1}\n"


# Merge review


async def test_merge_waits_for_the_analysis(partial_run: Path) -> None:
    async with opened(partial_run) as (app, pilot):
        text = await press(pilot, "4", "M")
        assert "8 layers are not analysed yet" in text
        await press(pilot, "ctrl+s")
        assert app.current_mode == "recipe"


async def test_merge_review_checks_the_output(whole_run: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "4", "M")
        assert "1 layer failed: resume the analysis, or tick the box above" in text
        assert "to write" in text
        await press(pilot, "tab", "tab", "space")
        assert "✔ ready" in screen_text(app)
        app.screen.query_one("#merge-out").value = str(tmp_path / "there")  # type: ignore[attr-defined]
        await settle(pilot)
        assert "is already there" in " ".join(screen_text(app).split())
        app.screen.query_one("#merge-out").value = ""  # type: ignore[attr-defined]
        await settle(pilot)
        assert "Name an output folder." in screen_text(app)


# Job


async def test_pause_resume_and_cancel(partial_run: Path) -> None:
    make_status(partial_run, "running")
    async with opened(partial_run) as (_, pilot):
        await press(pilot, "p")
        assert read_control(partial_run, "analyze") == "pause"
        make_status(partial_run, "paused")
        await settle(pilot)
        await press(pilot, "p")
        assert read_control(partial_run, "analyze") == "resume"
        text = await press(pilot, "c")
        assert "Cancel the analysis" in text
        await press(pilot, "n")
        assert read_control(partial_run, "analyze") == "resume"
        await press(pilot, "c", "y")
        assert read_control(partial_run, "analyze") == "cancel"


async def test_nothing_to_pause_or_cancel(partial_run: Path) -> None:
    async with opened(partial_run) as (app, pilot):
        assert "No job is running" in await press(pilot, "p")
        await press(pilot, "c")
        assert len(app.screen_stack) == 1


async def test_quitting_says_that_the_job_goes_on(partial_run: Path) -> None:
    status = make_status(partial_run, "running")
    async with opened(partial_run) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app.return_code == 0
        said = f"the analysis continues, pid {status.pid}; `globa-tui open {partial_run}` returns to it"
        assert app.last_words == [said]


async def test_open_never_starts_a_job_by_itself(partial_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("globa_tui.jobs.client.start", start)
    async with opened(partial_run) as (app, pilot):
        text = await press(pilot, "5", "R")
        assert "Resume the analysis of models/llama-base" in text
        await press(pilot, "n")
        assert not app.troubles


# Help and palette


@pytest.mark.parametrize(
    ("keys", "expected"),
    [(["3"], "Show only layers that fit"), (["4"], "published coefficients"), (["5"], "Start the analysis again")],
)
async def test_help_is_about_the_screen_in_front(whole_run: Path, keys: list[str], expected: str) -> None:
    async with opened(whole_run, (120, 40)) as (app, pilot):
        text = await press(pilot, *keys, "question_mark")
        assert expected in text
        assert "Everywhere" in text
        await press(pilot, "j", "k", "G", "g", "question_mark")
        assert len(app.screen_stack) == 1


async def test_palette_finds_actions_and_layers(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "colon")
        await pilot.press(*"recipe")
        await pilot.pause(0.6)
        await press(pilot, "enter")
        await pilot.pause(0.2)
        assert app.current_mode == "recipe"
        await press(pilot, "colon")
        await pilot.press(*"2.mlp.up")
        await pilot.pause(0.6)
        await press(pilot, "down", "enter")
        await pilot.pause(0.3)
        assert "model.layers.2.mlp.up_proj.weight" in screen_text(app)


async def test_sorting_shows_the_largest_where_no_row_was_chosen(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "s")
        table = app.screen.query_one(RowTable)
        assert table.at_top
        first = app.model.number("overlap", table.rows[0])
        assert first == max(value for value in app.model.numbers("overlap") if value is not None)
        await press(pilot, "j", "j")
        chosen = table.key
        await press(pilot, "s")
        assert table.key == chosen
