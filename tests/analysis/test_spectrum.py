"""Ranks, energies and knees read off chosen spectra."""

import math

import pytest
import torch

from analysis.spectrum import (
    effective_rank,
    energy_curve,
    knee,
    largest_rank_within,
    numerical_rank,
    rank_reaching,
    smallest_rank_reaching,
    stable_rank,
)

SPECTRUM = torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64)  # energies 9, 4, 1, 0 of 14
ZERO = torch.zeros(3, dtype=torch.float64)
EMPTY = torch.zeros(0, dtype=torch.float64)


def test_the_energy_curve_is_cumulative():
    assert energy_curve(SPECTRUM).tolist() == pytest.approx([9 / 14, 13 / 14, 1.0, 1.0])
    assert energy_curve(ZERO).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("energy", "rank"), [(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_an_energy_that_is_met_exactly_is_within(energy, rank):
    assert largest_rank_within(torch.full((4,), 2.0, dtype=torch.float64), energy) == rank


@pytest.mark.parametrize(("energy", "rank"), [(0.1, 1), (0.64, 1), (0.65, 1), (0.92, 1), (0.93, 2), (0.999, 2)])
def test_the_rank_within_stops_under_the_threshold(energy, rank):
    assert largest_rank_within(SPECTRUM, energy) == rank


@pytest.mark.parametrize(("energy", "rank"), [(0.1, 1), (0.64, 1), (0.65, 2), (0.92, 2), (0.93, 3), (1.0, 3)])
def test_the_rank_reaching_stops_above_the_threshold(energy, rank):
    assert smallest_rank_reaching(SPECTRUM, energy) == rank


def test_the_two_rules_differ_by_one_between_steps():
    for energy in (0.7, 0.8, 0.9, 0.95):
        assert smallest_rank_reaching(SPECTRUM, energy) == largest_rank_within(SPECTRUM, energy) + 1


@pytest.mark.parametrize("spectrum", [ZERO, EMPTY])
def test_zero_has_no_rank(spectrum):
    assert largest_rank_within(spectrum, 0.9) == smallest_rank_reaching(spectrum, 0.9) == 0
    assert numerical_rank(spectrum, 3, torch.float32) == 0
    assert (stable_rank(spectrum), effective_rank(spectrum), knee(spectrum)) == (0.0, 0.0, (0, 0.0))


def test_the_numerical_rank_drops_rounding():
    spectrum = torch.tensor([1.0, 1e-5, 1e-7, 1e-15], dtype=torch.float64)
    assert numerical_rank(spectrum, 100, torch.float32) == 2
    assert numerical_rank(spectrum, 100, torch.float64) == 3


def test_stable_and_effective_rank():
    assert stable_rank(SPECTRUM) == pytest.approx(14 / 9)
    shares = [3 / 6, 2 / 6, 1 / 6]
    assert effective_rank(SPECTRUM) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
    flat = torch.full((7,), 0.3, dtype=torch.float64)
    assert stable_rank(flat) == pytest.approx(7)
    assert effective_rank(flat) == pytest.approx(7)


def test_thresholds_that_are_met_exactly():
    """Two equal values hold half each: the first one reaches a half, and is within it."""
    pair = torch.ones(2, dtype=torch.float64)
    assert rank_reaching(pair, 0.5, 2.0) == smallest_rank_reaching(pair, 0.5) == largest_rank_within(pair, 0.5) == 1
    beyond_rounding = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    assert smallest_rank_reaching(beyond_rounding, 1.0) == largest_rank_within(beyond_rounding, 1.0) == 2
    assert knee(pair[:1], 2.0, 2) == knee(pair) == (1, 0.5)
    assert stable_rank(torch.tensor([2.0, 0.0], dtype=torch.float64)) == 1.0


def test_the_knee_is_farthest_above_the_chord():
    # Curve .25·(1, 2, 3, 3.9…): the distance to the chord k/6 is largest where the strong values end.
    values = torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1, 0.1], dtype=torch.float64)
    assert knee(values) == (3, pytest.approx(3 / 3.03))
    assert knee(torch.ones(1, dtype=torch.float64)) == (1, 1.0)


def test_leading_values_with_the_total_say_what_the_whole_would():
    whole = torch.arange(1, 101, dtype=torch.float64) ** -1.5
    total = float(whole.square().sum())
    part = whole[:20]
    assert stable_rank(part, total) == pytest.approx(stable_rank(whole))
    assert energy_curve(part, total).tolist() == pytest.approx(energy_curve(whole)[:20].tolist())
    assert largest_rank_within(part, 0.9, total) == largest_rank_within(whole, 0.9)
    assert rank_reaching(part, 0.95, total) == rank_reaching(whole, 0.95) == smallest_rank_reaching(whole, 0.95)
    assert knee(part, total, 100) == pytest.approx(knee(whole))


def test_what_the_leading_values_do_not_show_is_none():
    whole = torch.ones(100, dtype=torch.float64)
    whole[0] = 2.0
    assert rank_reaching(whole[:20], 0.95, 103.0) is None
    assert rank_reaching(whole[:20], 0.2, 103.0) == rank_reaching(whole, 0.2)
    whole[1:] = torch.linspace(1.5, 0.5, 99)
    total = float(whole.square().sum())
    shown = knee(whole)
    assert shown is not None
    assert knee(whole[: shown[0] - 5], total, 100) is None
    assert knee(whole[: shown[0] + 1], total, 100) == pytest.approx(shown)
