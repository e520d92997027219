"""Screens that are built before they are asked for, so that a first visit costs no more than a later one.

Building a screen takes 0.1 to 0.2 s of processor: imports, widgets, styles, a layout. That is done one screen at a
time, and only while no key comes. A screen that is not in front paints nothing: not a byte goes to the terminal.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from textual import events

from globa_tui.tui import screens
from globa_tui.tui.screens.base import InspectScreen

if TYPE_CHECKING:
    from globa_tui.tui.app import InspectApp

QUIET = 0.25
"""Seconds without a key before the next step."""


async def build_ahead(app: InspectApp, quiet: float = QUIET) -> None:
    """Build the screens that were not visited yet, and the page of a layer over each that opens one.

    Parameters
    ----------
    app : InspectApp
        Whose screens these are.
    quiet : float
        Seconds without a key before each of them.
    """
    for mode in screens.AHEAD:
        await _nothing_to_do(app, quiet)
        if mode not in app._screen_stacks:
            screen = screens.AHEAD[mode]()
            app._screen_stacks[mode] = [screen]
            await build(app, screen)
    for mode in screens.WITH_LAYERS:
        await _nothing_to_do(app, quiet)
        page = app.layer_page(mode)
        if not page.is_running:
            await build(app, page)


async def _nothing_to_do(app: InspectApp, quiet: float) -> None:
    await asyncio.sleep(quiet)
    while not app.model.loaded or time.monotonic() - app.last_key < quiet:
        await asyncio.sleep(quiet)


async def build(app: InspectApp, screen: InspectScreen) -> None:
    """Mount, fill and lay out a screen, as Textual does for one that comes to the front."""
    # It gets the styles of now; otherwise its first visit would compute those of the whole app again.
    screen._css_update_count = app._css_update_count
    _, mounted = app._get_screen(screen)
    await mounted
    if not app._exit:
        screen.post_message(events.ScreenResume())
