"""The patterns at other thresholds, and types against a union, entry by entry from their definitions."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.layer import LayerOptions, analyse_layer
from analysis.pair import signed_products, union_types
from analysis.prune import energy_levels
from analysis.what_if import PATTERNS, grid, what_if
from tests.analysis.matrices import decaying, gaussian, relative, with_spectrum
from tests.reference import globa

ETAS = (0.3, 0.7, 0.95, 1.0)


def cores(rows: int, cols: int, seed: int, density: float = 0.6) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(2):
        values = np.round(rng.normal(size=(rows, cols)) * 10.0 ** rng.uniform(-2, 1, size=(rows, cols)), 2)
        found.append(torch.from_numpy(values * (rng.random((rows, cols)) < density)))
    return found


def wanted(first: np.ndarray, second: np.ndarray) -> tuple[list[int], list[float]]:
    """Counts and energies of pruned matrices, by the sets of the appendix."""
    parts = {"C1": first, **globa.types(first, second)}
    return [int((parts[name] != 0).sum()) for name in PATTERNS], [float((parts[name] ** 2).sum()) for name in PATTERNS]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 9999))
def test_every_grid_point_is_the_references_pruning_and_typing(rows, cols, seed):
    first, second = cores(rows, cols, seed)
    other = (0.5, 0.8)
    found = what_if(first, second, energy_levels(first, ETAS), energy_levels(second, other), ETAS, other)
    assert found.counts.shape == (4, 2, 7)
    for (i, one), (j, two) in product(enumerate(ETAS), enumerate(other)):
        if rows * cols == 0:
            assert not found.counts.any()
            continue
        counts, energies = wanted(globa.prune(first.numpy(), one), globa.prune(second.numpy(), two))
        assert found.counts[i, j].tolist() == counts
        assert found.energies[i, j].tolist() == pytest.approx(energies, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_entries_are_looked_at_in_parts_of_any_size(chunk, monkeypatch):
    first, second = cores(9, 6, 1)
    asked = first, second, energy_levels(first, ETAS), energy_levels(second, ETAS[1:]), ETAS, ETAS[1:]
    whole = what_if(*asked)
    monkeypatch.setattr("analysis.what_if._CHUNK", chunk)
    parts = what_if(*asked)
    assert torch.equal(parts.counts, whole.counts)
    assert relative(parts.energies, whole.energies) <= 1e-14


def test_the_own_thresholds_are_in_the_grid_and_give_the_patterns():
    """The grid of a layer holds exactly what the components of the merge hold."""
    base = gaussian(40, 30, 1)
    tuned = [base + with_spectrum(40, 30, decaying(30), seed) for seed in (2, 3)]
    options = LayerOptions((0.95, 0.99), (0.83, 0.62), dtype=torch.float64)
    found = analyse_layer(base, tuned, options)
    assert found.grids == ((0.7, 0.8, 0.83, 0.9, 0.95, 0.99), (0.62, 0.7, 0.8, 0.9, 0.95, 0.99))
    patterns = found.pairs[0].patterns
    for part in found.parts.components:
        assert patterns[part.pattern][0] == part.count
        assert patterns[part.pattern][1] == pytest.approx(part.energy, rel=1e-12)
    again = analyse_layer(base, tuned, LayerOptions((0.95, 0.99), (0.9, 0.95), dtype=torch.float64))
    there = found.pairs[0].what_if.counts[3, 4].tolist()
    assert there == [count for count, _ in again.pairs[0].patterns.values()]
    assert there != found.pairs[0].what_if.counts[3, 5].tolist()


def test_grid_keeps_a_threshold_once():
    assert grid(0.8) == (0.7, 0.8, 0.9, 0.95, 0.99)


def test_union_of_one_other_task_is_the_pair():
    first, second = (torch.from_numpy(globa.prune(core.numpy(), 0.9)) for core in cores(9, 8, 5))
    found = union_types([first, second], 1)
    counts, energies = wanted(first.numpy(), second.numpy())
    assert [count for count, _ in found.values()] == counts[1:]
    assert [energy for _, energy in found.values()] == pytest.approx(energies[1:])


@pytest.mark.parametrize("task", [0, 1, 2])
def test_union_of_several_is_their_support(task):
    """Rows, columns and entries count as used where any other task uses them; signs are those of the sum."""
    pruned = [globa.prune(core.numpy(), 0.7) for core in (*cores(9, 8, 1, 0.3), cores(9, 8, 2, 0.3)[0])]
    others = [matrix for number, matrix in enumerate(pruned) if number != task]
    counts, _ = wanted(others[0] + others[1], pruned[task])
    found = union_types([torch.from_numpy(matrix) for matrix in pruned], task)
    assert [count for count, _ in found.values()] == counts[1:]


def test_products_with_entries_of_the_same_and_of_another_sign():
    one, two = torch.tensor([[2.0, -3.0], [0.0, 1.0]]), torch.tensor([[0.25, 1.0], [5.0, -0.5]])
    assert signed_products(one, two) == {"C1.D+": 0.5, "C1.D-": -3.5}


@pytest.mark.parametrize("entry", [3.0, 0.5, -0.5])
def test_others_that_cancel_still_fill_an_entry(entry):
    one = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    own = torch.tensor([[entry, 1.0], [1.0, -1.0]], dtype=torch.float64)
    found = union_types([one, -one, own], 2)
    assert {name: count for name, (count, _) in found.items()} == {"A": 1, "B": 1, "C": 1, "D+": 0, "D-": 1, "E": 0}
