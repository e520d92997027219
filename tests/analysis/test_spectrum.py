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
    smallest_rank_reaching,
    stable_rank,
)

SPECTRUM = torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64)  # energies 9, 4, 1, 0 of 14
ZERO = torch.zeros(3, dtype=torch.float64)
EMPTY = torch.zeros(0, dtype=torch.float64)


def test_the_energy_curve_is_cumulative():
    assert energy_curve(SPECTRUM).tolist() == pytest.approx([9 / 14, 13 / 14, 1.0, 1.0])
    assert energy_curve(ZERO).tolist() == [0.0, 0.0, 0.0]


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


def test_the_knee_is_farthest_above_the_chord():
    # Curve .25·(1, 2, 3, 3.9…): the distance to the chord k/6 is largest where the strong values end.
    values = torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1, 0.1], dtype=torch.float64)
    assert knee(values) == (3, pytest.approx(3 / 3.03))
    assert knee(torch.ones(1, dtype=torch.float64)) == (1, 1.0)
