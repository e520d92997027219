"""Pruning and the six types, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import overlap, prune
from analysis.errors import OptionsError
from analysis.overlap import OVERLAP_TYPES, OverlapType, overlap_types, overlap_types_by_rows
from analysis.prune import energy_levels, prune_to_energy
from tests.reference import globa


def matrix(rows: int, cols: int, seed: int, density: float = 1.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, cols)) * (rng.random((rows, cols)) < density)
    return torch.from_numpy(np.round(values, 1))  # rounded: equal squares do occur


sizes = st.integers(0, 9)


@settings(deadline=None, max_examples=150)
@given(sizes, sizes, st.integers(0, 10_000), st.floats(0.01, 1.0))
def test_pruning_keeps_the_fewest_entries_that_reach_the_energy(rows, cols, seed, eta):
    core = matrix(rows, cols, seed)
    kept = prune_to_energy(core, eta)
    squares, kept_squares = core.square(), kept[kept != 0].square()
    total = float(squares.sum())
    assert torch.equal(kept[kept != 0], core[kept != 0])
    if total == 0:
        assert not kept.any()
        return
    assert float(kept_squares.sum()) >= eta * total * (1 - 1e-12)
    if eta < 1:
        assert float(kept_squares.sum() - kept_squares.min()) < eta * total
    left_out = squares[(kept == 0) & (core != 0)]
    assert left_out.numel() == 0 or float(left_out.max()) <= float(kept_squares.min())


def test_pruning_agrees_with_the_reference_entry_by_entry():
    core = matrix(12, 17, 3)
    for eta in (0.2, 0.8, 0.95, 1.0):
        np.testing.assert_array_equal(prune_to_energy(core, eta).numpy(), globa.prune(core.numpy(), eta))


def long_tail(seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(150, 140)) * 10.0 ** rng.uniform(-12, 3, size=(150, 140)))


CORES = {
    "dense": lambda seed: torch.from_numpy(np.random.default_rng(seed).normal(size=(150, 140))),
    "long tail": long_tail,
    "mostly zero": lambda seed: matrix(150, 140, seed, 0.02),
    "tiny": lambda seed: 1e-150 * long_tail(seed),
    "zero": lambda seed: torch.zeros(150, 140, dtype=torch.float64),
    "one bucket": lambda seed: torch.ones(150, 140, dtype=torch.float64),
    "edges of buckets": lambda seed: 2.0 ** matrix(150, 140, seed).mul(4).round(),
}


ETAS = (1e-9, 0.3, 0.8, 0.95, 0.99999, 1.0)


@pytest.mark.parametrize("name", CORES)
def test_selection_keeps_the_entries_that_sorting_keeps(name, monkeypatch):
    """In parts, and many thresholds at once: each keeps what it keeps alone, a larger one what a smaller one keeps."""
    monkeypatch.setattr(prune, "_CHUNK", 9000)
    for seed in range(3):
        squares = CORES[name](seed).square().flatten()
        parts = torch.split(squares, 4000)
        cuts = prune._cuts_by_histogram(parts, ETAS)
        assert cuts == prune._cuts_by_sorting(parts, ETAS)
        core = squares.sqrt().view(150, 140)
        levels = energy_levels(core, ETAS)
        for number, eta in enumerate(ETAS):
            np.testing.assert_array_equal(torch.where(levels <= number, core, 0.0), prune_to_energy(core, eta))


def test_levels_are_the_references_prunings():
    core = matrix(12, 17, 3)
    levels = energy_levels(core, ETAS[1:])
    for number, eta in enumerate(ETAS[1:]):
        np.testing.assert_array_equal(torch.where(levels <= number, core, 0.0).numpy(), globa.prune(core.numpy(), eta))


@pytest.mark.parametrize("chunk", [1 << 20, 300])
def test_selection_breaks_ties_in_row_major_order(monkeypatch, chunk):
    monkeypatch.setattr(prune, "_CHUNK", chunk)
    core = torch.ones(20_000, 1, dtype=torch.float64)
    core[7_000:] = 2.0**0.5
    kept = prune_to_energy(core, (26_000 + 500.5) / 33_000) != 0
    assert bool(kept[7_000:].all())
    assert bool(kept[:501].all())
    assert int(kept.sum()) == 13_501


def test_a_share_that_is_met_exactly_keeps_no_more():
    assert prune_to_energy(torch.ones(1, 4, dtype=torch.float64), 0.5).tolist() == [[1.0, 1.0, 0.0, 0.0]]


def test_what_is_rounding_counts_as_zero():
    core = torch.tensor([[1.0, 1e-9], [0.5, 0.0]])
    assert int((prune_to_energy(core, 1.0) != 0).sum()) == 3
    assert int((prune_to_energy(core, 1.0, rounding=1e-8) != 0).sum()) == 2


@pytest.mark.parametrize("eta", [0.0, -1.0, 1.5, float("nan")])
def test_eta_outside_its_range_is_refused(eta):
    with pytest.raises(OptionsError, match="eta is"):
        prune_to_energy(torch.ones(2, 2), eta)


@settings(deadline=None, max_examples=150)
@given(sizes, sizes, st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_types_follow_the_appendix_and_partition_the_entries(rows, cols, seed, first_density, second_density):
    first, second = matrix(rows, cols, seed, first_density), matrix(rows, cols, seed + 1, second_density)
    codes = overlap_types(first, second)
    wanted = globa.types(first.numpy(), second.numpy())
    for kind in OVERLAP_TYPES:
        part = torch.where(codes == kind.value, second, 0.0)
        np.testing.assert_array_equal(part.numpy(), wanted[kind.label], err_msg=kind.label)
    assert torch.equal(codes != 0, second != 0)


def test_every_type_once():
    first = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    second = torch.tensor([[3.0, 2.0, 1.0, 0.0], [5.0, 0.0, 0.0, 0.0], [1.0, 0.0, 4.0, 0.0]])
    labels = [[OverlapType(code).label for code in row] for row in overlap_types(first, second).tolist()]
    assert labels == [["D+", "D-", "C", ""], ["E", "", "", ""], ["B", "", "A", ""]]


def test_types_by_rows_are_those_of_the_whole(monkeypatch):
    """Whether a column of C̃_1 is empty shows only in all of its rows."""
    monkeypatch.setattr(overlap, "_CHUNK", 26)
    first, second = matrix(9, 13, 1, 0.1), matrix(9, 13, 2, 0.5)
    parts = list(overlap_types_by_rows(first, second))
    assert [rows for rows, _ in parts][1] == slice(2, 4)
    wanted = globa.types(first.numpy(), second.numpy())
    for kind in OVERLAP_TYPES:
        found = torch.cat([torch.where(codes == kind.value, second[rows], 0.0) for rows, codes in parts])
        np.testing.assert_array_equal(found.numpy(), wanted[kind.label], err_msg=kind.label)
    alone = torch.cat([overlap_types(first[rows], second[rows]) for rows, _ in parts])
    assert not torch.equal(alone, overlap_types(first, second))
