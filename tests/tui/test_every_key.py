"""Every key of every screen does what its line of help says; a binding without a check here fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from globa_tui.jobs.protocol import control_path, read_control
from globa_tui.tui.about import ABOUT
from globa_tui.tui.app import InspectApp
from globa_tui.tui.bindings import SCOPES, TOGETHER, Key, Scope
from globa_tui.tui.screens.layer import LayerScreen
from globa_tui.tui.screens.layers import LayersScreen
from globa_tui.tui.widgets.grid_map import GridMap
from globa_tui.tui.widgets.row_table import RowTable
from tests.tui.driving import opened, press, settle
from tests.tui.fake_run import make_status

ROWS = 26
FAILED = 3
"""The layer of the run that failed."""


@dataclass(frozen=True)
class Case:
    """What holds after the keys before and the key itself, given the app and its screen as text."""

    holds: Callable[[InspectApp, str], object]
    before: tuple[str, ...] = ()


def top(app: InspectApp) -> str:
    return type(app.screen).__name__


def row(app: InspectApp) -> int | None:
    return app.screen.query_one("#layers", RowTable).key


def cursor(app: InspectApp) -> tuple[int, int]:
    return app.screen.query_one(GridMap).cursor


def coefficient(app: InspectApp, name: str) -> float:
    assert app.editor is not None
    return dict(app.editor.recipe.coefficients)[name]


def page(app: InspectApp) -> LayerScreen:
    assert isinstance(app.screen, LayerScreen)
    return app.screen


def scrolled(app: InspectApp) -> int:
    return int(app.screen.query_one("#numbers").scroll_offset.y)


def on_screen(name: str) -> Case:
    return Case(lambda app, _: app.current_mode == name and len(app.screen_stack) == 1)


GLOBAL: Mapping[str, Case] = {
    **{f"screen.{name}": on_screen(name) for name in ("overview", "map", "layers", "recipe", "job", "sweep")},
    "job.pause": Case(lambda app, _: read_control(app.model.path, "analyze") == "pause"),
    "job.resume": Case(lambda _, text: "The analysis is at work already." in text),
    "job.cancel": Case(lambda _, text: "Cancel the analysis" in text),
    "help": Case(lambda app, _: top(app) == "HelpScreen"),
    "palette": Case(lambda app, _: top(app) == "CommandPalette"),
    "what_if": Case(lambda app, text: top(app) == "ChooseScreen" and "0.95 / 0.8  the run's own" in text),
    "export": Case(lambda app, text: "Write " in text or "no layers on this screen" in text),
    "back": Case(lambda app, _: len(app.screen_stack) == 1 and app.is_running),
    "quit": Case(lambda app, _: app.return_code == 0 or len(app.screen_stack) == 1),
    "quit.now": Case(lambda app, _: app.return_code == 0),
    "suspend": Case(lambda app, _: app.title == "suspended"),
}
LEAVES = ("quit", "quit.now")

LAYERS: Mapping[str, Case] = {
    "list.down": Case(lambda app, _: row(app) == 1),
    "list.up": Case(lambda app, _: row(app) == 0, ("j",)),
    "list.page_down": Case(lambda app, _: (row(app) or 0) > 10),
    "list.page_up": Case(lambda app, _: row(app) == 8, ("G",)),
    "list.first": Case(lambda app, _: row(app) == 0, ("j", "j")),
    "list.last": Case(lambda app, _: row(app) == ROWS - 1),
    "list.open": Case(lambda app, _: page(app).index == 1, ("j",)),
    "layers.filter": Case(lambda app, _: isinstance(app.focused, Input)),
    "layers.sort": Case(lambda _, text: "sort Ovlp↓" in text),
    "layers.reverse": Case(lambda _, text: "sort Ovlp↑" in text, ("s",)),
    "layers.next": Case(lambda app, _: row(app) == FAILED),
    "layers.previous": Case(lambda app, _: row(app) == FAILED, ("G",)),
    "metric.next": Case(lambda app, _: app.metric == "share.A"),
    "metric.previous": Case(lambda app, _: app.metric == "size"),
    "metric.pick": Case(lambda app, _: top(app) == "MetricScreen"),
    "marks.toggle": Case(lambda app, _: app.marks == {0}),
    "marks.all": Case(lambda app, _: len(app.marks) == 23),
    "marks.recipe": Case(
        lambda app, _: app.current_mode == "recipe" and app.editor and not app.editor.selection.is_model
    ),
}
MAP: Mapping[str, Case] = {
    "grid.left": Case(lambda app, _: cursor(app) == (0, 1), ("l", "l")),
    "grid.down": Case(lambda app, _: cursor(app) == (1, 0)),
    "grid.up": Case(lambda app, _: cursor(app) == (0, 0), ("j",)),
    "grid.right": Case(lambda app, _: cursor(app) == (0, 1)),
    "grid.first": Case(lambda app, _: cursor(app) == (0, 0), ("l", "l")),
    "grid.last": Case(lambda app, _: cursor(app) == (0, 2)),
    "grid.open": Case(lambda app, _: "q_proj" in page(app).record["name"]),
    "map.next": Case(lambda app, _: app.screen.query_one(GridMap).cell == (FAILED,)),
    "map.previous": Case(lambda app, _: app.screen.query_one(GridMap).cell == (FAILED,), ("G",)),
    "metric.next": Case(lambda app, text: app.metric == "share.A" and "type A" in text),
    "metric.previous": Case(lambda app, text: app.metric == "size" and "relative size" in text),
    "metric.pick": LAYERS["metric.pick"],
    "marks.toggle": Case(lambda app, _: len(app.marks) == 1),
    "marks.all": Case(lambda app, _: len(app.marks) == 23),
    "marks.recipe": LAYERS["marks.recipe"],
}
LAYER: Mapping[str, Case] = {
    "layer.previous": Case(lambda app, _: page(app).index == 0, ("full_stop",)),
    "layer.next": Case(lambda app, _: page(app).index == 1),
    "layer.tab": Case(lambda _, text: "energy: sum of squares" in text),
    "layer.tab_back": Case(lambda _, text: "energy: sum of squares" not in text, ("tab",)),
    "layer.pair": Case(lambda _, text: "There is one pair only." in text),
    "layer.scroll_down": Case(lambda app, _: scrolled(app) == 1),
    "layer.scroll_up": Case(lambda app, _: scrolled(app) == 1, ("j", "j")),
}
RECIPE: Mapping[str, Case] = {
    "recipe.toggle": Case(lambda app, _: coefficient(app, "C1") == 0.0),
    "recipe.less": Case(lambda app, _: coefficient(app, "C1") == 0.95),
    "recipe.more": Case(lambda app, _: coefficient(app, "C1") == 1.05),
    "recipe.less_big": Case(lambda app, _: coefficient(app, "C1") == 0.75),
    "recipe.more_big": Case(lambda app, _: coefficient(app, "C1") == 1.25),
    "recipe.type": Case(lambda _, text: "Coefficient of C1, from -2 to 2" in text),
    "recipe.clear": Case(lambda _, text: "The whole model inherits nothing" in text),
    "recipe.target": Case(lambda _, text: "target: model" not in text),
    "recipe.choose": Case(lambda app, _: top(app) == "ChooseScreen"),
    "recipe.presets": Case(lambda _, text: "math-instruct-7b" in text),
    "recipe.undo": Case(lambda app, _: coefficient(app, "C1") == 1.0, ("space",)),
    "recipe.redo": Case(lambda app, _: coefficient(app, "C1") == 0.0, ("space", "u")),
    "recipe.save": Case(lambda _, text: "Save the recipe as" in text),
    "recipe.load": Case(lambda _, text: "Open the recipe in the file" in text),
    "recipe.command": Case(lambda app, _: top(app) == "CommandScreen"),
    "recipe.merge": Case(lambda app, _: top(app) == "MergeScreen"),
    "list.down": Case(lambda app, _: app.screen.query_one("#recipe", RowTable).key == 1),
    "list.up": Case(lambda app, _: app.screen.query_one("#recipe", RowTable).key == 0, ("j",)),
    "list.page_down": Case(lambda app, _: app.screen.query_one("#recipe", RowTable).key == 6),
    "list.page_up": Case(lambda app, _: app.screen.query_one("#recipe", RowTable).key == 0, ("G",)),
    "list.first": Case(lambda app, _: app.screen.query_one("#recipe", RowTable).key == 0, ("j", "j")),
    "list.last": Case(lambda app, _: app.screen.query_one("#recipe", RowTable).key == 6),
    "list.open": Case(lambda _, text: "Coefficient of C1, from -2 to 2" in text),
}
OVERVIEW: Mapping[str, Case] = {
    "overview.findings": Case(lambda app, text: top(app) == "ReadingScreen" and "1 of 23 layers failed" in text),
    "overview.hidden": Case(lambda _, text: "No hidden states are kept" in text),
    "list.down": Case(lambda app, _: app.screen.query_one("#standouts", RowTable).key == 1),
    "list.up": Case(lambda app, _: app.screen.query_one("#standouts", RowTable).key == 0, ("j",)),
    "list.page_down": Case(lambda app, _: (app.screen.query_one("#standouts", RowTable).key or 0) > 1),
    "list.page_up": Case(lambda app, _: app.screen.query_one("#standouts", RowTable).key == 0, ("pagedown",)),
    "list.first": Case(lambda app, _: app.screen.query_one("#standouts", RowTable).key == 0, ("j", "j")),
    "list.last": Case(lambda app, _: (app.screen.query_one("#standouts", RowTable).key or 0) > 3),
    "list.open": Case(lambda app, _: page(app).index == FAILED),
}
MERGE: Mapping[str, Case] = {
    "merge.start": Case(lambda _, text: "Not yet: see the check below." in text),
    "merge.next": Case(lambda app, _: not isinstance(app.focused, Input)),
}
JOB: Mapping[str, Case] = {
    "job.log": Case(lambda _, text: "Log of the merge" in text),
    **{f"list.{name}": Case(lambda app, _: app.screen.query_one("#failed", RowTable).key == FAILED)
       for name in ("down", "up", "page_down", "page_up", "first", "last")},
    "list.open": Case(lambda app, _: page(app).index == FAILED),
}  # fmt: skip

SWEEP: Mapping[str, Case] = {key.id: on_screen("sweep") for key in SCOPES["list"]}
"""Without candidates its keys do nothing; what they do with some has tests of its own."""

SCREENS: Mapping[str, tuple[tuple[str, ...], tuple[Scope, ...], Mapping[str, Case]]] = {
    "overview": (("1",), ("overview", "list"), OVERVIEW),
    "map": (("2",), ("map", "metric", "marks", "grid"), MAP),
    "layers": (("3",), ("layers", "metric", "marks", "list"), LAYERS),
    "layer": (("3", "enter"), ("layer",), LAYER),
    "recipe": (("4",), ("recipe", "list"), RECIPE),
    "merge": (("4", "M"), ("merge",), MERGE),
    "job": (("5",), ("job", "list"), JOB),
    "sweep": (("6",), ("list",), SWEEP),
}
"""How to get to each screen, the scopes of its keys, and what those do."""


def keys_of(*scopes: Scope) -> list[Key]:
    return [key for scope in scopes for key in SCOPES[scope]]


def test_every_key_of_every_screen_has_a_case() -> None:
    assert {scopes for _, scopes, _ in SCREENS.values()} == {*TOGETHER}
    assert {key.id for key in keys_of("global")} == set(GLOBAL)
    for name, (_, scopes, cases) in SCREENS.items():
        assert {key.id for key in keys_of(*scopes)} == set(cases), name


def test_every_screen_says_what_it_shows() -> None:
    assert set(ABOUT) == set(SCREENS)


async def afresh(pilot: Pilot[Any], run: Path, way: tuple[str, ...]) -> None:
    """The screen as when it is opened first, without marks, questions, or anything asked of the job."""
    app = pilot.app
    assert isinstance(app, InspectApp)
    while len(app.screen_stack) > 1:
        await app.pop_screen()
    app.action_close()
    control_path(run, "analyze").unlink(missing_ok=True)
    make_status(run, "running")
    app.clear_notifications()
    app.marks, app.metric = set(), "overlap"
    if app.editor:
        while app.editor.undo():
            pass
        app.editor.select(type(app.editor)(app.editor.recipe).selection)
    other = "1" if way[0] != "1" else "5"
    await press(pilot, other, *way)
    for table in app.screen.query(RowTable):
        table.action_edge(-1)
    for grid in app.screen.query(GridMap):
        grid.go_to(1)
    if isinstance(app.screen, LayersScreen):
        app.screen._sort_by("")
    if isinstance(app.screen, LayerScreen):
        app.screen._pane = "numbers"
        app.screen.query_one("#numbers").scroll_home(animate=False)
        app.screen._show_pane()
    await settle(pilot)


@pytest.mark.parametrize("name", SCREENS)
async def test_the_keys_of_a_screen(name: str, whole_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way, scopes, cases = SCREENS[name]
    monkeypatch.setattr(InspectApp, "action_suspend_process", lambda app: setattr(app, "title", "suspended"))
    own = keys_of(*scopes)
    shared = [key for key in keys_of("global") if name != "merge" or key.priority or key.id == "help"]
    async with opened(whole_run) as (app, pilot):
        for key in [*own, *sorted(shared, key=lambda key: key.id in LEAVES)]:
            case = cases.get(key.id) or GLOBAL[key.id]
            for pressed in key.keys.split(",") if key.id not in LEAVES else key.keys.split(",")[:1]:
                if name == "merge" and pressed == "question_mark":
                    continue  # typed into the line for the folder
                await afresh(pilot, whole_run, way)
                if case.before:
                    await press(pilot, *case.before)
                text = await press(pilot, pressed)
                assert case.holds(app, text), f"{pressed} ({key.id}) on {name}:\n{text}"
                if app.return_code is not None:
                    return
    assert app.return_code == 0
