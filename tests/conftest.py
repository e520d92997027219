"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# Each process computes on one thread, and tests run side by side: threads that wait for one another across processes
# took three times the processor time. Set before anything imports torch; tests of threads set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts `make test &` with ctrl-C ignored, and what we start would inherit that: tests of signals wait in vain.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _signals_stay_as_they_were() -> Iterator[None]:
    """A job that a test runs in its own process ignores SIGHUP from then on, and what later tests start inherits it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
