"""Weighted matrices from entry lists against the dense ones, and pruning again against pruning once."""

from __future__ import annotations

import pytest
import torch

from analysis.errors import OptionsError
from analysis.merge.globa import PATTERNS, weighted_core
from analysis.merge.patterns import Entries, PatternCores
from analysis.prune import prune_to_energy
from tests.analysis.matrices import gaussian

SHAPE = (9, 13)
COEFFICIENTS = dict(zip(PATTERNS, (1.0, 0.5, -0.3, 0.7, 1.2, 0.9, 0.1), strict=True))


def cores(tasks: int, eta: float = 0.6) -> list[torch.Tensor]:
    return [prune_to_energy(gaussian(*SHAPE, seed), eta) for seed in range(tasks)]


def entries(core: torch.Tensor) -> Entries:
    places = torch.nonzero(core.flatten()).flatten()
    return Entries(places, core.flatten()[places])


@pytest.mark.parametrize(("tasks", "anchor"), [(1, 0), (2, 0), (2, 1), (3, 1)])
def test_entries_give_the_dense_sum(tasks: int, anchor: int) -> None:
    dense = cores(tasks)
    found = PatternCores([entries(core) for core in dense], anchor, SHAPE)
    wanted = weighted_core(dense, anchor, COEFFICIENTS)
    torch.testing.assert_close(found.weighted(COEFFICIENTS), wanted, rtol=1e-14, atol=1e-18)
    with pytest.raises(OptionsError, match="give one for each"):
        found.weighted({"A": 1.0})


def test_patterns_that_have_no_entry_are_not_present() -> None:
    dense = cores(2)
    assert PatternCores([entries(dense[0]), entries(torch.zeros(SHAPE).double())], 0, SHAPE).present() == ("C1",)
    assert PatternCores([entries(core) for core in dense], 0, SHAPE).present()[0] == "C1"


@pytest.mark.parametrize("eta", [0.3, 0.6, 0.9])
def test_pruning_again_is_pruning_once(eta: float) -> None:
    core = gaussian(*SHAPE, 7)
    kept = prune_to_energy(core, 0.9)
    again = entries(kept).pruned(eta * float(core.square().sum()))
    once = entries(prune_to_energy(core, eta))
    assert again.places.tolist() == once.places.tolist()
    assert torch.equal(again.values, once.values)


def test_more_than_there_is_keeps_everything() -> None:
    some = entries(cores(1)[0])
    assert some.pruned(1e9).places.tolist() == some.places.tolist()
    none = Entries(some.places[:0], some.values[:0])
    assert none.pruned(1.0).places.numel() == 0


def test_of_equal_entries_the_first_are_kept_and_no_more_than_needed() -> None:
    """Also among so many that a sort that is not stable mixes them."""
    values = torch.ones(100, dtype=torch.float64)
    values[:50] *= -1
    kept = Entries(torch.arange(100) * 3, values).pruned(40.0)
    assert kept.places.tolist() == [3 * place for place in range(40)]
