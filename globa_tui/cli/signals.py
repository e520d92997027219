"""Ending a command in order when it is asked to terminate, or its terminal goes away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from globa_tui.jobs.reporter import Reporter


_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP end the program as ctrl-C does, so that nothing half written is left."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextmanager
def stopping_on_term() -> Iterator[Callable[[Reporter], None]]:
    """Within the block, SIGTERM and SIGHUP stop the job whose reporter was handed over, after the layer in work."""
    with _handled_by() as handle:
        yield lambda reporter: handle(lambda number, frame: reporter.stop())


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None] | None = None) -> Iterator[Callable[[Any], None]]:
    """Handle the signals within the block; one that is ignored, as ``nohup`` does, stays so."""
    before = {number: signal.getsignal(number) for number in _ENDING}

    def handle(chosen: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, old in before.items():
                signal.signal(number, signal.SIG_IGN if old is signal.SIG_IGN else chosen)

    if handler is not None:
        handle(handler)
    try:
        yield handle
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, old in before.items():
                signal.signal(number, old if old is not None else signal.SIG_DFL)
