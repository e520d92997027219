"""Keys one after the other, so that a burst of them reaches the screens that it leads to.

Textual gives a key to whatever has the focus when the key arrives, and changes screen and focus later, by messages: of
keys that come together (typed ahead, pasted, replayed over a slow link) those behind a change of screen would go to the
old one. Here the next key waits until the one before it has been dealt with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.events import Event
from textual.message_pump import MessagePump

HELD = 0.05
"""Seconds for which the paint waits at most for all that the key changes."""
WITHIN = 1.0
"""Seconds after which the next key goes out whatever the one before it still does."""
ROUNDS = 6


class TypedKeys:
    """What was typed and waits for its turn.

    Parameters
    ----------
    app : App
        Whose keys these are.
    deliver : callable
        Gives a key to whatever has the focus.
    """

    def __init__(self, app: App[Any], deliver: Callable[[Event], Awaitable[None]]) -> None:
        self._app = app
        self._deliver = deliver
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """Take a key, or a pasted text."""
        self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Deliver, until the app ends."""
        while True:
            event = await self._waiting.get()
            with ExitStack() as painting:
                if self._waiting.empty():
                    painting.enter_context(self._held())
                await self._deliver(event)
                settled = await self._settled_within(HELD)
            if not settled:
                await self._settled_within(WITHIN)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the paint: what a key changes here and there becomes one frame, not one now and one 16 ms later."""
        with self._app.batch_update():
            yield
        self._app.screen.check_idle()

    async def _settled_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._settled()
        except TimeoutError:
            return False
        return True

    async def _settled(self) -> None:
        """Wait until nothing that the key set going changes the screen or the focus any more."""
        before: object = None
        for _ in range(ROUNDS):
            for pump in self._pumps():
                await _caught_up(pump)
            here = (self._app.screen, self._app.focused)
            if here == before:
                return
            before = here

    def _pumps(self) -> list[MessagePump]:
        """Those that a key passes on its way up, the focused widget first and the app last."""
        focused: DOMNode = self._app.focused or self._app.screen
        return list(focused.ancestors_with_self)


async def _caught_up(pump: MessagePump) -> None:
    """Wait until a message pump has dealt with all that it was sent so far."""
    done = asyncio.Event()
    # As `call_later` does, which looks at the signature of what it calls each time.
    if pump.post_message(events.Callback(done.set)):
        await done.wait()
