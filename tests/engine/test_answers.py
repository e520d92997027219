"""What comes back from a cluster is looked at before it is believed; no cluster is needed for that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from globa_tui.engine.on_ray import ClusterError, _Place
from globa_tui.engine.work import Task
from tests.engine.stations import Number

LAYER = (Task(2, "layer 2"),)


@pytest.fixture
def place() -> Any:
    engine: Any = SimpleNamespace(submit=lambda shared, batch: None, warn=lambda texts: None)
    shared: Any = None
    return _Place[Number](engine, shared)


@pytest.mark.parametrize(
    "answer", [None, 7, (), ([], []), ([Number(0)] * 2, []), (["no result"], []), ([Number(0)], 7)]
)
def test_something_else_than_results_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, place: Any, answer: object
) -> None:
    monkeypatch.setattr(ray, "get", lambda flying: answer)
    with pytest.raises(ClusterError, match="layer 2: the cluster answered something else than results"):
        place.compute(LAYER, [None])


def test_results_are_taken(monkeypatch: pytest.MonkeyPatch, place: Any) -> None:
    monkeypatch.setattr(ray, "get", lambda flying: ([Number(4)], []))
    assert place.compute(LAYER, [None]) == [Number(4)]
