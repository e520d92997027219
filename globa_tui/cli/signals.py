"""Ending a foreground job between two layers when it is asked to terminate."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from globa_tui.jobs.reporter import Reporter


@contextmanager
def stopping_on_term() -> Iterator[Callable[[Reporter], None]]:
    """Within the block, SIGTERM stops the job whose reporter was handed over, after the layer in work."""
    before = signal.getsignal(signal.SIGTERM)

    def watch(reporter: Reporter) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: reporter.stop())

    try:
        yield watch
    finally:
        signal.signal(signal.SIGTERM, before)
