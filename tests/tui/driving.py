"""Driving the app in tests: open it on a run, wait for the disk thread instead of sleeping, read the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from globa_tui.jobs.settings import AnalysisRequest
from globa_tui.tui.app import InspectApp

NEVER = 3600.0
"""A period of looks at the disk: in tests only `settle` looks."""


@asynccontextmanager
async def opened(
    run: Path, size: tuple[int, int] = (80, 24), request: AnalysisRequest | None = None
) -> AsyncIterator[tuple[InspectApp, Pilot[Any]]]:
    """The app on a run, with everything that is on disk on the screen."""
    app = InspectApp(run, request, period=NEVER)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settle(pilot)
        yield app, pilot


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until the disk thread has looked once more and the app has shown what it found."""
    app = pilot.app
    assert isinstance(app, InspectApp)
    for _ in range(2):
        done = app.disk.sync()
        assert await asyncio.to_thread(done.wait, 20), "the disk thread hangs"
        await pilot.pause()


async def until(pilot: Pilot[Any], holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that another process or thread does."""
    for _ in range(int(seconds / 0.1)):
        await settle(pilot)
        if holds():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("waited in vain\n" + screen_text(pilot.app))


def screen_text(app: Any) -> str:
    """What the screen in front shows, line by line."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def press(pilot: Pilot[Any], *keys: str) -> str:
    """Press keys, wait, and read the screen."""
    await pilot.press(*keys)
    await settle(pilot)
    return screen_text(pilot.app)
