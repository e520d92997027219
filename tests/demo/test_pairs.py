"""The table of the pairs says what was measured."""

from __future__ import annotations

import json

import pytest

from demo.pairs_table import MARKERS, OUT, PAGE, PAIRS, RESULTS, losses, table


def test_the_page_has_the_measured_table() -> None:
    rows = json.loads(OUT.read_text(encoding="utf-8"))
    assert list(rows) == [" + ".join(pair) for pair in PAIRS]
    assert table(rows) in PAGE.read_text(encoding="utf-8").split(MARKERS[0])[1].split(MARKERS[1])[0]


def test_losses_are_those_of_the_results() -> None:
    """Worked out by hand: exact answers fall from 0.965 to 0.3075, bits of code rise from 1.95979 to 2.14290."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = losses(("math", "code"), results)
    assert found["loss of the first, sum"] == pytest.approx(0.3075 / 0.965 - 1)
    assert found["loss of the second, sum"] == pytest.approx(1.959791087402113 / 2.142905100109951 - 1)
    stored = json.loads(OUT.read_text(encoding="utf-8"))["math + code"]
    assert {name: stored[name] for name in found} == pytest.approx(found)
