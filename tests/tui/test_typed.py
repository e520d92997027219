"""Keys that come faster than the screens change."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key, Paste
from textual.pilot import Pilot

from globa_tui.tui import typed
from globa_tui.tui.app import InspectApp
from globa_tui.tui.screens.layer import LayerScreen
from tests.tui.driving import opened, screen_text, settle

CHARACTERS = {"slash": "/", "enter": "\r", "space": " "}


async def burst(pilot: Pilot[Any], *keys: str) -> str:
    """Send keys all at once, as a slow link or a paste does."""
    for key in keys:
        pilot.app.post_message(Key(key, CHARACTERS.get(key, key if len(key) == 1 else None)))
    await settle(pilot)
    return screen_text(pilot.app)


def layer_in_front(app: InspectApp) -> str:
    assert isinstance(app.screen, LayerScreen)
    return str(app.screen.record["name"])


async def test_keys_behind_a_change_of_screen_reach_the_new_one(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await burst(pilot, "3", "j", "j", "enter")
        assert layer_in_front(app) == app.model.records[2]["name"]
        text = await burst(pilot, "escape", "4", "j", "right", "right", "enter")
        assert "Coefficient of A" in text
        assert app.editor is not None
        assert app.editor.recipe.coefficients["A"] == 0.1


async def test_a_filter_and_what_follows_it_at_once(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await burst(pilot, "3", "slash", *"mlp", "enter", "j", "enter")
        assert layer_in_front(app) == "model.layers.0.mlp.up_proj.weight"
        await burst(pilot, "escape", "escape", "2", "l", "enter")
        assert layer_in_front(app) == "model.layers.1.self_attn.q_proj.weight"


async def test_pasted_text_waits_for_its_line(whole_run: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        app.post_message(Key("3", "3"))
        app.post_message(Key("slash", "/"))
        app.post_message(Paste("down_proj"))
        await settle(pilot)
        assert "/down_proj 3/26" in screen_text(app)


async def test_a_key_that_hangs_holds_the_others_up_for_a_second_only(
    whole_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typed, "WITHIN", 0.05)
    async with opened(whole_run) as (app, pilot):
        free = asyncio.Event()

        async def hang() -> None:
            await free.wait()

        app.screen.call_later(hang)
        app.post_message(Key("x", "x"))
        app.post_message(Key("ctrl+q", None))
        for _ in range(100):
            if app.return_code is not None:
                break
            await asyncio.sleep(0.02)
        free.set()
        assert app.return_code == 0
