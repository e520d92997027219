"""One item ahead: what is made beside what, errors in their place, and no thread left behind."""

from __future__ import annotations

import threading

import pytest

from globa_tui.engine.ahead import ahead
from tests.engine.stations import SECONDS


def test_the_next_item_is_made_while_one_is_worked_on():
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    found = []
    for number in ahead(items()):
        found.append(number)
        assert number == 2 or made[number + 1].wait(SECONDS)
    assert found == [0, 1, 2]


def test_no_more_than_one_is_made_ahead():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    for number in ahead(items()):
        assert made[-1] <= number + 1


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise OSError("torn")

    following = ahead(items())
    assert next(following) == 1
    with pytest.raises(OSError, match="torn"):
        next(following)


def test_whoever_stops_early_leaves_no_thread():
    for number in ahead(iter(range(1000))):
        if number == 3:
            break
    del number
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_nothing_at_all():
    assert list(ahead(iter(()))) == []
