"""Records from strangers, and numbers read from them: one layer at a time and many together."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from math import isfinite
from typing import Any

import pytest

from globa_tui.tui.cleaning import TOGETHER, clean_record, clean_records
from globa_tui.tui.metrics import METRICS
from tests.tui.fake_run import layers, record

ODD = ["high", float("nan"), float("inf"), None, {}, [], 10**400, True, -1, 0.5, {"A": {}}, [["x"]]]


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside of one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*way, key)
        yield from places(each, (*way, key))


def with_odd(whole: dict[str, Any], way: tuple[Any, ...], odd: object) -> dict[str, Any]:
    """A copy with something else at a place."""
    made = deepcopy(whole)
    at = made
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = odd
    return made


def spoilt() -> Iterator[dict[str, Any]]:
    """Records that each have one thing that is odd, missing or too much; what the manifest says is always whole."""
    whole = {**record(layers(1)[1]), "other": {"a": [0.5, {"b": 1}]}}
    for way in places(whole):
        if way[0] in ("index", "name", "status"):
            continue
        yield from (with_odd(whole, way, odd) for odd in ODD)
        less = deepcopy(whole)
        at = less
        for key in way[:-1]:
            at = at[key]
        del at[way[-1]]
        yield less
    yield from ({**whole, key: "why"} for key in ("reason", "error", "dtype", "more"))
    yield {**whole, "patterns": {**whole["patterns"], "F": {"count": 1, "energy": 1.0}}}


def test_cleaning_keeps_what_is_whole() -> None:
    made = record(layers(1)[1])
    clean = clean_record(made)
    for key in ("name", "shape", "rank", "norm", "patterns", "angles", "effect", "knee", "clusters", "rank_at"):
        assert clean[key] == made[key]


def test_whole_records_are_taken_as_they_are_and_others_are_not() -> None:
    """What is told from many records together is what cleaning each of them gives."""
    whole = record(layers(1)[1])
    pending = {**layers(1)[2], "status": "pending"}
    clean = clean_records([whole, pending, whole])
    assert clean[0] is clean[2] is whole
    assert clean[1] is pending
    left_out = {**layers(1)[2], "status": "skipped", "reason": "a vector"}
    assert clean_records([whole, left_out]) == [whole, clean_record(left_out)]
    assert clean_record(left_out)["error"] == "a vector"
    kept = 0
    for made in spoilt():
        together = clean_records([whole, made])
        assert together[0] in (whole, clean_record(whole))
        for key, value in clean_record(made).items():
            assert [together[1].get(key)] == [value], (key, made[key])
        kept += together[1] is made
    assert kept > 100, "most of what cannot do harm costs nothing"


def test_an_odd_record_costs_only_those_around_it() -> None:
    whole, odd = record(layers(1)[1]), {**record(layers(1)[2]), "rank": ["x", 3]}
    clean = clean_records([*[whole] * TOGETHER, odd, *[whole] * TOGETHER])
    assert clean[TOGETHER] == clean_record(odd)
    assert clean[TOGETHER]["rank"] == [None, 3]
    assert clean[0] is whole


def test_metrics_of_many_layers_are_those_of_each() -> None:
    records = [*map(clean_record, spoilt()), {**record(layers(1)[1]), "hidden": {"apart": 0.1, "moved": [0.1, None]}}]
    for metric in METRICS:
        assert metric.column(records) == [metric.value(each) for each in records], metric.key


def test_cleaning_leaves_out_what_has_the_wrong_form() -> None:
    bad = {"index": 3, "name": "x", "status": "boom", "shape": "4x4", "rank": "many", "patterns": {"A": 3}, "knee": {}}
    clean = clean_record(bad)
    assert clean["status"] == "failed"
    assert "boom" in clean["error"]
    assert clean["shape"] == []
    assert "rank" not in clean
    assert clean["patterns"]["A"] == {"count": 0, "energy": 0.0}


@pytest.mark.parametrize(
    "odd", ["high", float("nan"), float("inf"), None, {}, [], 10**400], ids=lambda odd: f"{odd!r:.9}"
)
def test_no_metric_gives_what_is_no_number(odd: object) -> None:
    """Wherever a record from a stranger has something else, a metric is missing, and no screen fails."""

    def spoilt(value: object) -> object:
        if isinstance(value, dict):
            return {key: spoilt(each) for key, each in value.items()}
        return [spoilt(each) for each in value] if isinstance(value, list) else odd

    made = record(layers(1)[1])
    head = {key: made.pop(key) for key in ("index", "name", "status", "role")}
    for whole in (
        {**head, **{key: spoilt(value) for key, value in made.items()}},
        {**head, **dict.fromkeys(made, odd)},
    ):
        values = [value for metric in METRICS for value in metric.values(clean_record(whole))]
        assert [value for value in values if value is not None and not isfinite(value)] == []
