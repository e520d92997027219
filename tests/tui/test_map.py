"""The map: where every matrix stands, how it is drawn, and what its keys do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.color import Color
from rich.style import Style

from globa_tui.tui.app import InspectApp
from globa_tui.tui.block_map import block_map, module_path, short_labels
from globa_tui.tui.ink import GLYPHS, LEVELS, level_of, ramp
from globa_tui.tui.metrics import METRICS
from globa_tui.tui.widgets.grid_map import GridMap
from store.run import RunWriter
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import arrays, layers, make_run, make_status, manifest, record

SIZES = [(80, 24), (120, 40), (60, 15)]
KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(autouse=True)
def many_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLORTERM", raising=False)


def grid(app: InspectApp) -> GridMap:
    return app.screen.query_one(GridMap)


def rows_of(text: str) -> dict[str, str]:
    """Lines of the grid by their labels."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.translate(str.maketrans("←↑↓", "   ")).split()
        if words and words[0] in (*KINDS, "no", "block"):
            found.setdefault(words[0], line[1:])
    return found


def backgrounds(app: InspectApp) -> list[list[Color]]:
    """Colours of the cells, row by row."""
    found = []
    widget = grid(app)
    for y in range(1, widget.size.height):
        row = [segment.style.bgcolor for segment in widget.render_line(y) for _ in segment.text if segment.style]
        found.append([colour for colour in row if colour is not None])
    return found


# The arrangement


def named(names: list[tuple[str, int | None, str]]) -> list[dict[str, Any]]:
    return [{"name": name, "block": block, "kind": kind, "role": "matrix"} for name, block, kind in names]


def test_rows_are_modules_in_the_order_of_the_computation() -> None:
    found = block_map(layers(3))
    assert [row.label for row in found.rows] == [*KINDS, "no block"]
    assert found.blocks == (0, 1, 2)
    assert found.rows[0].cells == ((1,), (9,), (17,))
    assert found.rows[-1].cells == ((0,), (25,))
    assert found.experts == 1
    assert found.place_of(9) == (0, 1)
    assert found.place_of(8) is None


def test_experts_share_a_cell_however_they_are_stored() -> None:
    names: list[tuple[str, int | None, str]] = []
    for block in (0, 1):
        names += [(f"model.layers.{block}.mlp.experts.{n}.up_proj.weight", block, "up_proj") for n in range(3)]
        names += [(f"model.layers.{block}.mlp.experts.down_proj[{n}]", block, "down_proj") for n in range(3)]
        names += [(f"model.layers.{block}.mlp.shared_expert.up_proj.weight", block, "up_proj")]
    found = block_map(named(names))
    assert {row.label: row.cells for row in found.rows} == {
        "experts up_proj": ((0, 1, 2), (7, 8, 9)),
        "down_proj": ((3, 4, 5), (10, 11, 12)),
        "shared_expert up_proj": ((6,), (13,)),
    }
    assert found.experts == 3


def test_stacks_of_blocks_are_told_apart() -> None:
    names: list[tuple[str, int | None, str]] = [
        ("encoder.block.0.layer.0.SelfAttention.q.weight", 0, "q_proj"),
        ("decoder.block.0.layer.0.SelfAttention.q.weight", 0, "q_proj"),
        ("decoder.block.0.layer.1.EncDecAttention.q.weight", 0, "q_proj"),
        ("shared.weight", None, "embed"),
    ]
    labels = [row.label for row in block_map(named(names)).rows]
    assert labels == ["encoder q", "decoder SelfAttention q", "decoder EncDecAttention q", "no block"]


def test_labels_stay_different_and_harmless() -> None:
    paths = ["a.*.w", "a.*.x.w", "b.*.w", "c", "a.*.1.w", "a.*.2.w", "z.*.\x1b[2J"]
    labels = short_labels(paths)
    assert len(set(labels.values())) == len(paths)
    assert all(label.isprintable() for label in labels.values())
    assert module_path("odd name", 3) == "odd name"


def test_many_tensors_outside_blocks_wrap() -> None:
    found = block_map(named([(f"t{n}", None, "") for n in range(40)]))
    assert [(row.label, len(row.cells)) for row in found.rows] == [("no block", 16), ("", 16), ("", 8)]
    assert block_map([]).rows == ()


# Shades


def test_the_ramp_grows_lighter_and_has_its_levels() -> None:
    assert 16 <= LEVELS <= 24
    shades = [shade.style.bgcolor.get_truecolor() for shade in ramp(True) if shade.style.bgcolor]
    lightness = [0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in shades]
    assert lightness == sorted(lightness)
    assert len(set(shades)) == LEVELS
    glyphs = [shade.glyph for shade in ramp(False)]
    assert glyphs == sorted(glyphs, key=GLYPHS.index)
    assert set(glyphs) == set(GLYPHS)
    assert all(shade.style == Style() for shade in ramp(False))


def test_levels_span_the_scale() -> None:
    assert [level_of(value, 0.0, 1.0) for value in (-1.0, 0.0, 0.5, 1.0, 9.0)] == [0, 0, 10, 19, 19]
    assert level_of(3.0, 3.0, 3.0) == LEVELS // 2


# The screen


def done(run: Path) -> None:
    make_status(run, "complete", done=23, total=23, failed=1)


def running(run: Path) -> None:
    make_status(run, "running")


def failed(run: Path) -> None:
    make_status(run, "failed", message="CUDA out of memory")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("state", "word"), [(running, "● RUN"), (done, "✔ DONE"), (failed, "✖ FAILED")])
@pytest.mark.parametrize("no_color", [False, True])
async def test_map(
    partial_run: Path,
    whole_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    state: Callable[[Path], None],
    word: str,
    no_color: bool,
) -> None:
    run = whole_run if state is done else partial_run
    state(run)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    async with opened(run, size) as (app, pilot):
        text = await press(pilot, "2")
        colours = backgrounds(app)
        below = await press(pilot, *["j"] * 7)
    lines = text.splitlines()
    assert word in lines[0]
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    rows = rows_of(text)
    # Where the word on a failed job takes lines, the last rows are scrolled to.
    if size[1] > 15 or state is not failed:
        assert list(rows) == ["block", *KINDS, "no"]
        assert "↓" not in rows["block"]
    assert list(rows_of(below))[-1] == "no"
    assert rows["block"].replace("↓", "").split()[1:4] == ["0", "1", "2"]
    assert "!" in rows["v_proj"]
    assert ("·" in rows["gate_proj"]) == (run is partial_run)
    assert "subspace overlap" in text
    assert "! failed" in text
    assert "model.layers.0.self_attn.q_proj.weight" in text
    if no_color:
        assert set(rows["q_proj"]) & set(GLYPHS)
    else:
        assert len({colour for row in colours for colour in row}) > 6
        assert not set(rows["q_proj"]) & set("#%@*")


async def test_sixteen_colours_get_glyphs(whole_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    async with opened(whole_run) as (_, pilot):
        rows = rows_of(await press(pilot, "2"))
    assert sum(character in GLYPHS for character in "".join(rows[kind][10:] for kind in KINDS)) > 20


async def test_thirty_two_blocks_fit_and_more_scroll(tmp_path: Path) -> None:
    async with opened(make_run(tmp_path / "many.globa", blocks=32, done=0.2)) as (app, pilot):
        text = await press(pilot, "2", "end")
        assert rows_of(text)["block"].split()[-1] == "30"
        assert "→" not in rows_of(text)["block"]
        assert "model.layers.31.self_attn.q_proj.weight" in text
        await pilot.resize_terminal(60, 15)
        await settle(pilot)
        assert grid(app).cell == (249,)
    async with opened(make_run(tmp_path / "more.globa", blocks=90, done=0.1), (60, 15)) as (app, pilot):
        text = await press(pilot, "2")
        assert "→" in rows_of(text)["block"]
        text = await press(pilot, "G")
        assert "←" in rows_of(text)["block"]
        assert "→" not in rows_of(text)["block"]
        assert "model.layers.89.self_attn.q_proj.weight" in text
        await press(pilot, "g")
        assert grid(app).cursor == (0, 0)


async def test_moving_goes_from_matrix_to_matrix(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "2")
        for keys, place in (
            (["l", "right"], (0, 2)),
            (["right"], (0, 2)),
            (["j", "down"], (2, 2)),
            (["k", "up", "up"], (0, 2)),
            (["h", "left", "left"], (0, 0)),
            (["end"], (0, 2)),
            (["home"], (0, 0)),
            (["G"], (0, 2)),
            ([*["j"] * 7], (7, 1)),
            (["right"], (7, 1)),
            (["k"], (6, 1)),
        ):
            await press(pilot, *keys)
            assert grid(app).cursor == place, keys


async def test_opening_a_cell_and_coming_back(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "2", "down", "enter")
        assert "relative size" in text
        assert "model.layers.0.self_attn.k_proj" in text
        assert "model.layers.1.self_attn.k_proj" in await press(pilot, "full_stop")
        await press(pilot, "escape")
        assert app.current_mode == "map"
        assert grid(app).cursor == (1, 0)


async def test_metrics_cycle_and_are_chosen(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        seen = [(await press(pilot, "2")).splitlines()[2]]
        for _ in range(len(METRICS) - 1):
            seen.append((await press(pilot, "m")).splitlines()[2])
        assert len({line.split("  ")[0] for line in seen}) == len(METRICS)
        assert (await press(pilot, "m")).splitlines()[2] == seen[0]
        await press(pilot, "b")
        assert app.metric == "size"
        text = await press(pilot, "v")
        assert "relative size" in text
        assert "orthogonal: new rows and columns" in text
        await press(pilot, "escape")
        assert app.metric == "size"
        await press(pilot, "v", "j", "k", "j", "enter")
        assert app.metric == "overlap"


async def test_the_legend_has_ends_unit_and_notes(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "2", "b")
        legend = next(line for line in screen_text(app).splitlines() if "! failed" in line)
        values = [max(found["relative_size"]) for found in app.model.records if found.get("relative_size")]
        assert f"{100 * min(values):.1f}%" in legend
        assert f"{100 * max(values):.1f}%" in legend
        assert "largest of the fine-tunes" in legend


async def test_failed_layers_are_found(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "2", "n")
        assert grid(app).cursor == (2, 0)
        assert "NaN at row 3" in text
        await press(pilot, "N")
        assert grid(app).cursor == (2, 0)


async def test_marks_are_those_of_the_table(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        text = await press(pilot, "2", "space", "down", "space")
        assert app.marks == {1, 2}
        assert "2 marked" in text
        text = await press(pilot, "3")
        assert "◆ L0 self_attn.q_proj" in text
        await press(pilot, "2", "space")
        assert app.marks == {1}
        await press(pilot, "asterisk")
        assert len(app.marks) == 23
        await press(pilot, "asterisk")
        assert not app.marks


async def test_mouse_moves_and_opens(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "2")
        await pilot.click("#map", offset=(10 + 4 + 1, 3))
        await settle(pilot)
        assert grid(app).cursor == (2, 1)
        await pilot.click("#map", offset=(3, 3))
        await settle(pilot)
        assert grid(app).cursor == (2, 1)
        await pilot.click("#map", offset=(10 + 4 + 1, 3))
        await settle(pilot)
        assert "relative size" in screen_text(app)


async def test_experts_show_their_mean_and_open_the_largest(tmp_path: Path) -> None:
    index = manifest(1)
    first = index["layers"][6]
    for expert in range(4):
        name = f"model.layers.0.mlp.experts.{expert}.up_proj.weight"
        index["layers"].append({**first, "index": len(index["layers"]), "name": name, "fine_tuned": [name, name]})
    with RunWriter.create_or_resume(tmp_path / "experts.globa", index) as writer:
        for place, layer in enumerate(index["layers"][-4:]):
            made = record(layer) | {"orthogonality": {"left": 0.1 * place, "right": 0.1 * place}}
            writer.write_layer(made, arrays(layer))
    async with opened(tmp_path / "experts.globa") as (app, pilot):
        text = await press(pilot, "2", *["down"] * 7)
        assert len(grid(app).cell) == 4
        assert "mean of 4 experts" in text
        assert "Ovlp .15  largest of 4 experts: model.layers.0.mlp.experts.3.up_proj.weight" in text
        assert "model.layers.0.mlp.experts.3.up_proj.weight" in await press(pilot, "enter")


async def test_results_fill_in_without_moving_the_cursor(partial_run: Path) -> None:
    async with opened(partial_run) as (app, pilot):
        before = await press(pilot, "2", "G", "j")
        with RunWriter.create_or_resume(partial_run, manifest(3)) as writer:
            layer = manifest(3)["layers"][18]
            writer.write_layer(record(layer), arrays(layer))
        await settle(pilot)
        after = screen_text(app)
        assert "14/23" in before
        assert "15/23" in after
        assert grid(app).cursor == (1, 2)
        assert "Ovlp" in after.splitlines()[-3]


async def test_an_empty_index_says_so(tmp_path: Path) -> None:
    with RunWriter.create_or_resume(tmp_path / "empty.globa", {**manifest(1), "layers": []}):
        pass
    async with opened(tmp_path / "empty.globa") as (_, pilot):
        text = await press(pilot, "2", "right", "down", "end", "enter", "space", "m", "n")
    assert "No matrices." in text
