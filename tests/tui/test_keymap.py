"""The user's own keys, and the key tables of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from globa_tui.diagnostics import ExitCode, UsageError, exit_code
from globa_tui.tui import run_inspect
from globa_tui.tui.app import InspectApp
from globa_tui.tui.bindings import SCOPES, TOGETHER, hints, shown_keys
from globa_tui.tui.keymap import config_file, read_keymap
from globa_tui.tui.keys import TABLES, full_table, short_table, updated
from globa_tui.tui.screens.job import JobScreen
from globa_tui.tui.screens.layer import LayerScreen
from globa_tui.tui.screens.layers import LayersScreen
from globa_tui.tui.screens.map import MapScreen
from globa_tui.tui.screens.merge import MergeScreen
from globa_tui.tui.screens.overview import OverviewScreen
from globa_tui.tui.screens.recipe import RecipeScreen
from globa_tui.tui.widgets.row_table import RowTable
from tests.tui.driving import NEVER, press, screen_text, settle

ROOT = Path(__file__).parents[2]
SCREENS = (OverviewScreen, MapScreen, LayersScreen, LayerScreen, RecipeScreen, MergeScreen, JobScreen)
BY_ID = {key.id: key for keys in SCOPES.values() for key in keys}


def written(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text)
    return file


def test_the_file_is_where_configurations_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_file() == tmp_path / "globa-tui" / "config.toml"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert config_file() == tmp_path / ".config" / "globa-tui" / "config.toml"


def test_keys_by_id(tmp_path: Path) -> None:
    assert read_keymap(tmp_path / "none.toml") == {}
    text = '[keymap]\n"job.pause" = "z"\nlist.down = ["down", "?"]\n"help" = "ctrl+t"\nquit.now = "ctrl+]"\n'
    assert read_keymap(written(tmp_path, text)) == {
        "job.pause": "z",
        "list.down": "down,question_mark",
        "help": "ctrl+t",
        "quit.now": "ctrl+right_square_bracket",
    }
    assert read_keymap(written(tmp_path, "")) == {}
    assert read_keymap(written(tmp_path, '[keymap]\n"layer.next" = ","\n"layer.previous" = "."\n')) == {
        "layer.next": "comma",
        "layer.previous": "full_stop",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[keymap]\n"job.stop" = "z"\n', "unknown binding 'job.stop'"),
        ('[keymap]\n"job.pause" = "j"\n', "job.pause: j is the key of list.down on the same screen"),
        ('[keymap]\n"list.down" = "s"\n', "list.down: s is the key of layers.sort on the same screen"),
        ('[keymap]\n"layers.sort" = "z"\n"layers.reverse" = "z"\n', "z is the key of layers.sort"),
        ('[keymap]\n"layers.sort" = "ctrl+m"\n', "ctrl+m never arrives"),
        ('[keymap]\n"layers.sort" = "hyper+x"\n', "no key 'hyper+x'"),
        ('[keymap]\n"layers.sort" = ""\n', "no key ''"),
        ('[keymap]\n"layers.sort" = 3\n', "write one key or a list"),
        ('[keymap]\n"layers.sort" = []\n', "write one key or a list"),
        ("keymap = 3\n", "keymap is a table"),
        ("[keys]\n", "unknown table or key 'keys'"),
        ("[keymap\n", "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        read_keymap(written(tmp_path, text))
    assert said in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/config.toml: ")
    assert "\n" not in str(error.value)
    assert exit_code(error.value) == ExitCode.USAGE


def test_a_broken_file_stops_the_interface_before_it_draws(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "globa-tui").mkdir()
    written(tmp_path / "globa-tui", '[keymap]\n"x.y" = "z"\n')
    monkeypatch.setattr("globa_tui.tui.terminal_trouble", lambda: None)
    monkeypatch.setattr(InspectApp, "run", lambda *arguments, **options: pytest.fail("it was drawn"))
    with pytest.raises(UsageError, match="unknown binding"):
        run_inspect(whole_run)


async def test_own_keys_act_and_are_shown(whole_run: Path) -> None:
    keymap = {"screen.layers": "z", "list.down": "e", "layers.sort": "ctrl+t", "layers.reverse": "s", "help": "f2"}
    app = InspectApp(whole_run, period=NEVER, keymap=keymap)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "3")
        assert app.current_mode == "overview"
        text = await press(pilot, "z")
        assert app.current_mode == "layers"
        assert "ctrl+t Sort" in text
        assert "f2 Help" in text
        table = app.screen.query_one(RowTable)
        await press(pilot, "e", "j", "down")
        assert table.key == 1
        assert "sort Ovlp↓" in await press(pilot, "ctrl+t")
        assert "sort Ovlp↑" in await press(pilot, "s")
        await press(pilot, "f2")
        assert "  ctrl+t       Sort by" in screen_text(app)


# Documentation


def test_the_tables_in_the_documentation_are_current() -> None:
    for name, tables in TABLES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        made = updated(text, {table: make() for table, make in tables.items()})
        assert text == made, f"run: python -m globa_tui.tui.keys --write ({name})"


def test_the_tables_name_every_key() -> None:
    for key in BY_ID.values():
        assert f"`{shown_keys(key)}` | `{key.id}` |" in full_table()
        assert f"`{shown_keys(key)}` " in short_table()


def test_missing_markers_are_told() -> None:
    with pytest.raises(ValueError, match="markers of keys are missing"):
        updated("nothing here", {"keys": ""})


def test_scopes_that_are_on_one_screen() -> None:
    """The check of own keys knows the same screens as there are."""
    for screen in SCREENS:
        assert any(set(screen.SCOPES) <= set(scopes) for scopes in TOGETHER), screen


def test_own_keys_replace_hints() -> None:
    found = dict((key.id, shown) for shown, key in hints(("recipe",), {"recipe.more": "right,x"}))
    assert found["recipe.more"] == "→"
    assert dict((key.id, shown) for shown, key in hints(("recipe",)))["recipe.more"] == "←→"
