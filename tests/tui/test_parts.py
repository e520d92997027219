"""The parts of the interface that need no screen: texts, metrics, filters, editing, records, keys."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import pytest
from rich.cells import cell_len

from globa_tui.coefficients import PATTERNS
from globa_tui.presets import merge_preset
from globa_tui.recipe import Recipe
from globa_tui.tui.app import InspectApp
from globa_tui.tui.bindings import SCOPES, TOGETHER, Scope, hints
from globa_tui.tui.cleaning import clean_record
from globa_tui.tui.curves import curve
from globa_tui.tui.edits import DEPTH, RecipeEditor
from globa_tui.tui.filters import SYNTAX, FilterError, compile_filter, metric_names
from globa_tui.tui.metric import Metric, decimal, percent
from globa_tui.tui.metrics import BY_KEY, METRICS, register
from globa_tui.tui.screens.job import JobScreen
from globa_tui.tui.screens.layer import LayerScreen
from globa_tui.tui.screens.layers import LayersScreen, columns_for
from globa_tui.tui.screens.map import MapScreen
from globa_tui.tui.screens.merge import MergeScreen
from globa_tui.tui.screens.overview import OverviewScreen
from globa_tui.tui.screens.recipe import RecipeScreen
from globa_tui.tui.widgets.grid_map import GridMap
from globa_tui.tui.widgets.row_table import RowTable
from globa_tui.tui.words import bar, count, duration, fit_label, labels, size
from tests.tui.fake_run import layers, record


def editor(clock: Any = None) -> RecipeEditor:
    return RecipeEditor(Recipe(run="run"), clock or (lambda: 0.0))


# Words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (-1, "-"), (0, "0s"), (59.4, "59s"), (61, "1m01s"), (4320, "1h12m"), (400_000, "4d")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_are_short() -> None:
    assert [count(n) for n in (0, 9999, 41_234, 41_200_000, 2.1e9)] == ["0", "9,999", "41.2 k", "41.2 M", "2.1 G"]
    assert size(10_400_000_000) == "10.4 GB"
    assert [decimal(n) for n in (0.131, 0.999, 1.0, 12.5)] == [".13", "1.00", "1.00", "12.50"]
    assert [percent(n) for n in (0.0, 0.0001, 0.125, 0.9999, 1.5)] == ["0.0", "<0.1", "12.5", "100", "150"]


def test_bars_have_their_width() -> None:
    for share in (None, float("nan"), -1.0, 0.0, 0.03, 0.5, 0.999, 1.0, 7.0):
        assert cell_len(bar(share, 10)) == 10
    assert bar(0.5, 4) == "██  "


def test_labels_name_the_block_and_keep_the_tail() -> None:
    index = layers(2)
    found = labels(index)
    assert found[1] == "L0 self_attn.q_proj"
    assert found[0] == "model.embed_tokens"
    assert len(set(found)) == len(index)
    assert fit_label("L17 self_attn.q_proj", 14) == "L17 …tn.q_proj"
    assert cell_len(fit_label("名前.名前.名前.weight", 9)) <= 9


def test_labels_of_two_stacks_stay_whole() -> None:
    """A T5 has an encoder and a decoder: a block number alone would not tell them apart."""
    names = ["encoder.block.0.q.weight", "decoder.block.0.q.weight"]
    assert labels([{"name": name, "block": 0} for name in names]) == ["encoder.block.0.q", "decoder.block.0.q"]


# Metrics and records


def analysed() -> dict[str, Any]:
    """A record with every number, those of hidden states too."""
    return {**clean_record(record(layers(1)[1])), "hidden": {"apart": 0.125, "moved": [0.25, 0.5]}}


def test_metrics_fit_their_places() -> None:
    done = analysed()
    assert len(BY_KEY) == len(METRICS)
    for metric in METRICS:
        assert len(metric.heading) <= 6
        assert len(metric.title) <= 18
        assert metric.show == "table" or len(metric.meaning) <= 40
        assert metric.value(done) is not None, metric.key
        assert metric.cell({"name": "x", "status": "pending"}) == "-"


def test_a_metric_cannot_take_the_name_of_another() -> None:
    for key in ("rank", "share.A", "a", "d-"):
        with pytest.raises(ValueError, match="already"):
            register(Metric(key, "X", "x", "x", lambda record: (1.0,), decimal))


def test_shares_add_up() -> None:
    done = clean_record(record(layers(1)[1]))
    assert sum(BY_KEY[f"share.{name}"].value(done) or 0.0 for name in PATTERNS[1:]) == pytest.approx(1.0)


def test_columns_fit_eighty_cells() -> None:
    for width in (60, 80, 120, 200):
        columns = columns_for(width)
        name = width - sum(column.width for column in columns) - len(columns) - 1
        assert name >= 18, (width, name)
        assert {column.key for column in columns} >= {"name", "overlap", "share.D-", "status"}
    assert "shape" in {column.key for column in columns_for(80)}


def test_curve_is_reduced_and_counts_missing_values() -> None:
    whole = curve([2.0, 1.0], None)
    assert whole.rank == (1.0, 2.0)
    assert whole.energy == pytest.approx((0.8, 1.0))
    assert curve([2.0], 4.0).energy == pytest.approx((0.25,))
    assert len(curve(list(range(5000, 0, -1)), None).rank) <= 240
    assert curve([], 1.0).rank == ()
    assert curve([0.0, 0.0], 0.0).energy == (0.0, 0.0)


# Filter


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", 17),
        ("mlp", 6),
        ("MLP down", 2),
        ("down mlp", 2),
        ("q_proj", 2),
        ("block:1", 8),
        ("block:0-1 mlp", 6),
        ("!pending", 17),
        ("!pend", 17),
        ("!failed", 0),
        ("!marked", 2),
        ("norm", 2),
        ("nothing", 0),
        ("qproj", 2),
        ("l1up", 1),
        ("block:1- kind:mlp", 3),
        ("kind:q_proj", 2),
        ("kind:Q", 2),
        ("kind:attn block:0", 4),
        ("kind:x", 0),
        ("size>0", 0),
    ],
)
def test_filter(text: str, kept: int) -> None:
    records = [clean_record({**layer, "status": "pending"}) for layer in layers(2)][:17]
    assert len(list(filter(compile_filter(text, records, {3, 5}), records))) == kept


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_filter_knows_every_number_in_the_unit_shown(metric: Metric) -> None:
    done = analysed()
    value = metric.value(done)
    assert value is not None
    shown = value * metric.factor
    for name in (metric.key, metric.short.upper()):
        assert compile_filter(f"{name}>{shown - 0.01}")(done)
        assert compile_filter(f"{name}<={shown + 0.01}")(done)
        assert not compile_filter(f"{name}>={shown + 0.01}")(done)
        assert not compile_filter(f"{name}<{shown - 0.01}")(done)
    assert compile_filter(f"{metric.short}={metric.format(value).replace(',', '')}")(done)


def test_filter_compares_what_is_shown() -> None:
    done = clean_record({**record(layers(1)[1]), "relative_size": [0.051, 0.02], "rank": [30, 51]})
    for text, kept in (("size>5", True), ("size>5.2", False), ("size<=5.1%", True), ("size=5.1", True)):
        assert compile_filter(text)(done) is kept, text
    assert compile_filter("rank>50")(done)
    assert not compile_filter("rank>50")({**done, "rank": [50, None]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mlp D->", "D->: write a number behind >, such as D->10"),
        ("rank>many", "rank>many: write a number"),
        ("ranks>5", "no number 'ranks'; did you mean rank?"),
        (">5", ">5: no number ''; the numbers are size overlap A B"),
        ("block:x", "block:x: write block:3, block:3-7 or block:3-"),
        ("block:7-3", "block:7-3: the first block comes after the last"),
        ("block:", "block:: write"),
        ("kind:", "kind:: write a kind behind it"),
        ("!", "!: the statuses are !done !failed"),
        ("!broken", "!broken: the statuses are"),
        ("\x1b[2J>3", r"\x1b[2J>3: no number"),
    ],
)
def test_filter_says_what_is_wrong_in_one_line(text: str, said: str) -> None:
    with pytest.raises(FilterError) as error:
        compile_filter(text)
    assert said in str(error.value)
    assert str(error.value).isprintable()


def test_filter_examples_can_be_read() -> None:
    done = clean_record(record(layers(1)[1]))
    for example, _ in SYNTAX:
        compile_filter(example)(done)
    for name in metric_names().split():
        compile_filter(f"{name}>1")(done)


# Editing


def test_undo_and_redo_walk_the_history() -> None:
    edit = editor()
    assert edit.set("A", 0.5) == "A 0 -> 0.5"
    assert edit.set("D-", 0.25) == "D- 1 -> 0.25"
    assert edit.changed
    assert edit.undo() == "D- 1 -> 0.25"
    assert edit.undo() == "A 0 -> 0.5"
    assert edit.undo() is None
    assert not edit.changed
    assert edit.redo() == "A 0 -> 0.5"
    assert edit.value("A") == 0.5
    edit.set("B", 1.0)
    assert edit.redo() is None


def test_quick_nudges_are_one_step_and_slow_ones_are_not() -> None:
    now = [0.0]
    edit = editor(lambda: now[0])
    for _ in range(4):
        edit.nudge("A", 0.05)
        now[0] += 0.1
    assert edit.value("A") == pytest.approx(0.2)
    now[0] += 5.0
    edit.nudge("A", 0.05)
    edit.nudge("B", 0.05)
    assert edit.undo() == "B 0 -> 0.05"
    assert edit.undo() == "A 0.2 -> 0.25"
    assert edit.undo() == "A 0 -> 0.2"
    assert edit.undo() is None


def test_nudges_stay_exact_and_inside_the_limits() -> None:
    edit = editor()
    for _ in range(30):
        edit.nudge("A", 0.05)
    assert edit.value("A") == 1.5
    for _ in range(90):
        edit.nudge("A", -0.05)
    assert edit.value("A") == -2.0


def test_switching_off_and_on_keeps_the_number() -> None:
    edit = editor()
    edit.set("D-", 0.75)
    edit.toggle("D-")
    assert edit.value("D-") == 0.0
    edit.toggle("D-")
    assert edit.value("D-") == 0.75
    edit.toggle("A")
    assert edit.value("A") == 1.0


def test_a_preset_is_one_step() -> None:
    edit = editor()
    preset = merge_preset("math-instruct-7b")
    assert edit.take(preset.coefficients, preset.name) == "preset math-instruct-7b"
    assert edit.take(preset.coefficients, preset.name) is None
    edit.undo()
    assert edit.recipe == Recipe(run="run")


def test_the_history_is_bounded() -> None:
    edit = editor()
    for step in range(DEPTH + 50):
        edit.set("A", (step % 7 + 1) / 10)
    undone = 0
    while edit.undo():
        undone += 1
    assert undone == DEPTH


# Keys


def test_ids_are_unique_and_keys_are_safe() -> None:
    keys = [key for scope in SCOPES.values() for key in scope]
    assert len({key.id for key in keys}) == len(keys)
    unsafe = {"ctrl+h", "ctrl+m", "ctrl+i", "shift+enter", "ctrl+enter"}
    assert not unsafe & {name for key in keys for name in key.keys.split(",")}
    assert not any("alt+" in key.keys for key in keys)


def test_no_screen_gives_a_key_two_meanings() -> None:
    for own in TOGETHER:
        names = [n for scope in (*own, "global") for key in SCOPES[scope] for n in key.keys.split(",")]
        assert len(names) == len(set(names)), own


def test_every_action_exists() -> None:
    both = (MapScreen, LayersScreen)
    owners: dict[Scope, tuple[Any, ...]] = {
        "global": (InspectApp,), "list": (RowTable,), "grid": (GridMap,), "map": (MapScreen,),
        "layers": (LayersScreen,), "metric": both, "marks": both, "layer": (LayerScreen,),
        "recipe": (RecipeScreen,), "merge": (MergeScreen,),
        "job": (JobScreen,), "overview": (OverviewScreen,),
    }  # fmt: skip
    for scope, keys in SCOPES.items():
        for key, owner in itertools.product(keys, owners[scope]):
            name = key.action.split("(")[0]
            owner = InspectApp if name.startswith("app.") else owner
            assert inspect.isfunction(getattr(owner, f"action_{name.removeprefix('app.')}")), key.id


def test_footers_fit_eighty_cells() -> None:
    screens = (OverviewScreen, MapScreen, LayersScreen, LayerScreen, RecipeScreen, MergeScreen, JobScreen)
    for screen in screens:
        line = " " + "  ".join(f"{shown} {key.name}" for shown, key in hints((*screen.SCOPES, "global")))
        assert len(line) <= 80, line
