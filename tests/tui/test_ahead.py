"""Screens that are built before they are shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.css.query import NoMatches

from globa_tui.tui import screens
from globa_tui.tui.ahead import build, build_ahead
from globa_tui.tui.app import InspectApp
from globa_tui.tui.screens.layers import LayersScreen
from tests.tui.driving import NEVER, opened, press, screen_text, settle


async def test_a_screen_built_ahead_shows_what_a_visited_one_shows(whole_run: Path) -> None:
    async with opened(whole_run, (120, 40)) as (_, pilot):
        expected = [await press(pilot, key) for key in "23456"]
    async with opened(whole_run, (120, 40)) as (app, pilot):
        await build_ahead(app, 0.0)
        await settle(pilot)
        assert [await press(pilot, key) for key in "23456"] == expected


async def test_nothing_is_painted_while_it_is_built(whole_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(whole_run) as (app, pilot):
        before, painted = screen_text(app), []
        monkeypatch.setattr(InspectApp, "_display", lambda self, screen, update: painted.append(screen))
        await build_ahead(app, 0.0)
        await settle(pilot)
        assert set(app._screen_stacks) == {"overview", *screens.AHEAD}
        assert painted == []
        assert screen_text(app) == before


async def test_what_came_after_is_caught_up(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await build_ahead(app, 0.0)
        await settle(pilot)
        app.marks = {0}
        assert "1 marked" in await press(pilot, "3")


async def test_a_layer_page_built_ahead_reads_its_layer(whole_run: Path) -> None:
    async with opened(whole_run, (120, 40)) as (app, pilot):
        await build_ahead(app, 0.0)
        await settle(pilot)
        pages = [app.layer_page(mode) for mode in screens.WITH_LAYERS]
        assert all(page.is_running for page in pages)
        assert not pages[0]._read
        await press(pilot, "3", "enter")
        assert app.screen is pages[0]
        assert pages[0]._read


async def test_a_screen_visited_before_stays_the_one_it_was(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "j")
        before = app.screen
        assert isinstance(before, LayersScreen)
        await build_ahead(app, 0.0)
        await press(pilot, "1", "3")
        assert app.screen is before


@pytest.mark.parametrize("steps", [1, 4, 8, 12])
async def test_leaving_while_a_screen_is_built_is_no_failure(whole_run: Path, steps: int) -> None:
    """A signal or `q` comes when it likes; a screen that is taken away half filled misses its parts."""
    app = InspectApp(whole_run, period=NEVER)
    running = asyncio.create_task(app.run_async(headless=True, size=(80, 24), mouse=False))
    while not app.model.loaded:
        await asyncio.sleep(0.01)

    async def leave() -> None:
        building = asyncio.create_task(build(app, app.layer_page("layers")))
        for _ in range(steps):
            await asyncio.sleep(0)
        app.exit(return_code=143)
        await building

    app.run_worker(leave())
    await asyncio.wait_for(running, 20)
    assert app.return_code == 143
    assert app._exception is None


async def test_a_screen_that_misses_its_parts_otherwise_is_one(whole_run: Path) -> None:
    async def miss() -> None:
        async with opened(whole_run) as (app, pilot):
            app.call_later(lambda: app.query_one("#nowhere"))
            await settle(pilot)

    with pytest.raises(NoMatches):
        await miss()
