"""A command that is asked to end, or whose terminal goes away, ends in order."""

from __future__ import annotations

import os
import signal

import pytest

from globa_tui.cli import signals
from globa_tui.cli.signals import ending_in_order, stopping_on_term

ENDING = [signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", ENDING)
def test_it_ends_as_by_ctrl_c(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ending_in_order():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", ENDING)
def test_what_is_ignored_stays_so(number: int) -> None:
    """As `nohup` does for a terminal that goes away."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ending_in_order(), stopping_on_term() as watch:
            watch(object())  # type: ignore[arg-type]
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", ENDING)
def test_a_job_is_stopped_between_layers(number: int) -> None:
    class Job:
        stopped = 0

        def stop(self) -> None:
            self.stopped += 1

    job = Job()
    with ending_in_order():
        with stopping_on_term() as watch:
            watch(job)  # type: ignore[arg-type]
            os.kill(os.getpid(), number)
        assert job.stopped == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_beside_the_main_thread_nothing_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python allows handlers in the main thread only; a command called in another one just runs."""
    monkeypatch.setattr(signals.threading, "current_thread", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    with ending_in_order():
        assert signal.getsignal(signal.SIGTERM) == before
