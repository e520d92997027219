"""Leaving when the terminal has gone without a signal."""

from __future__ import annotations

import asyncio
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.app import App

_SECONDS = 2.0


async def leave_when_hung_up(app: App[int]) -> None:
    """End as on SIGHUP once nobody can type any more.

    The kernel signals only those whose controlling terminal it was; others would read its end for ever, which takes a
    whole processor.
    """
    poll = select.poll()
    poll.register(sys.__stdin__ or 0, 0)
    while not poll.poll(0):
        await asyncio.sleep(_SECONDS)
    app.exit(None, 129)
