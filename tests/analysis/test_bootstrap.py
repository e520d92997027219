"""The bootstrap against a literal reading, against theory, and at its edges."""

from __future__ import annotations

import math

import pytest
import torch

from analysis import bootstrap
from analysis.bootstrap import bootstrap_ratio
from analysis.errors import OptionsError
from tests.analysis.matrices import generator
from tests.reference.bootstrap import percentile_interval


def test_it_is_the_literal_percentile_interval() -> None:
    numerators = torch.rand(17, dtype=torch.float64, generator=generator(1))
    denominators = 1 + torch.rand(17, dtype=torch.float64, generator=generator(2))
    found = bootstrap_ratio(numerators, denominators, generator(3), resamples=200, level=0.9)
    draws = torch.randint(17, (200, 17), generator=generator(3)).numpy()
    wanted = percentile_interval(numerators.numpy(), denominators.numpy(), draws, 0.9)
    assert (found.low, found.high) == pytest.approx(wanted, rel=1e-12)
    assert found.value == pytest.approx(float(numerators.sum() / denominators.sum()), rel=1e-15)


def test_resamples_are_drawn_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty in blocks of three, the last of two: all of them are in the interval, and no more."""
    monkeypatch.setattr(bootstrap, "_DRAWS", 3 * 17 + 16)
    numerators = torch.rand(17, dtype=torch.float64, generator=generator(1))
    ones = torch.ones_like(numerators)
    found = bootstrap_ratio(numerators, ones, generator(3), resamples=20)
    source = generator(3)
    draws = torch.cat([torch.randint(17, (count, 17), generator=source) for count in (3, 3, 3, 3, 3, 3, 2)]).numpy()
    wanted = percentile_interval(numerators.numpy(), ones.numpy(), draws, 0.95)
    assert (found.low, found.high) == pytest.approx(wanted, rel=1e-12)
    monkeypatch.setattr(bootstrap, "_DRAWS", 1)
    assert bootstrap_ratio(numerators, ones, generator(3), resamples=20).low < found.value


def test_one_resample_is_its_own_interval() -> None:
    numerators = torch.rand(17, dtype=torch.float64, generator=generator(1))
    found = bootstrap_ratio(numerators, torch.ones_like(numerators), generator(3), resamples=1)
    drawn = torch.randint(17, (17,), generator=generator(3))
    assert found.low == found.high == pytest.approx(float(numerators[drawn].mean()))


def test_the_interval_of_an_accuracy_is_that_of_the_normal_approximation() -> None:
    right = torch.zeros(2000, dtype=torch.float64)
    right[:600] = 1.0
    found = bootstrap_ratio(right, torch.ones_like(right), generator(0))
    half = 1.96 * math.sqrt(0.3 * 0.7 / 2000)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - half, abs=0.15 * half)
    assert found.high == pytest.approx(0.3 + half, abs=0.15 * half)
    narrower = bootstrap_ratio(right, torch.ones_like(right), generator(0), level=0.5)
    assert narrower.high - narrower.low < 0.5 * (found.high - found.low)


def test_the_denominators_weigh_the_items() -> None:
    """Bits per byte of a long and a short window are not the mean of the two rates."""
    found = bootstrap_ratio(torch.tensor([90.0, 1.0]).double(), torch.tensor([90.0, 10.0]).double(), generator(0))
    assert found.value == pytest.approx(0.91)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(1.0)


def test_one_item_and_equal_items_have_no_spread() -> None:
    one = torch.tensor([3.0], dtype=torch.float64)
    assert vars(bootstrap_ratio(one, 2 * one, generator(0))) == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_what_cannot_be_drawn_is_refused() -> None:
    none = torch.zeros(0, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(OptionsError, match="0 items"):
        bootstrap_ratio(none, none, generator(0))
    for wrong in ({"level": 1.0}, {"level": 0.0}, {"resamples": 0}):
        with pytest.raises(OptionsError, match="all must be positive"):
            bootstrap_ratio(one, one, generator(0), **wrong)
