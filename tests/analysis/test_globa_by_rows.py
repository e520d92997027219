"""A GLOBA merge from passes over rows is the merge of the paper's formulas, whatever is held at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from analysis.layer import LayerOptions, pruned_matrices
from analysis.merge import globa_by_rows
from analysis.merge.globa import PATTERNS, merged_delta, weighted_core
from tests.analysis.matrices import decaying, gaussian, orthonormal, relative, with_spectrum
from tests.reference import globa

COEFFICIENTS = dict(zip(PATTERNS, (1.0, 0.5, 0.3, 0.7, 0.4, -0.6, 0.2), strict=True))
DEFAULTS = LayerOptions(svd_energy=(0.90, 0.99), eta=(0.95, 0.80))
WHOLE = LayerOptions(svd_energy=(1.0, 1.0), eta=(1.0, 1.0), basis_energy=1.0)


def clustered() -> list[torch.Tensor]:
    """Directions that both share exactly, and others orthogonal to everything: large clusters."""
    left, right = orthonormal(240, 24, 5), orthonormal(44, 24, 6)
    first, second = decaying(14, 0.4), 0.8 * decaying(18, 0.3)
    return [(left[:, :14] * first) @ right[:, :14].T, (left[:, 6:24] * second) @ right[:, 6:24].flip(1).T]


FAMILIES: dict[str, Callable[[], list[torch.Tensor]]] = {
    "random": lambda: [gaussian(400, 50, seed) for seed in (1, 2)],
    "low-rank": lambda: [with_spectrum(300, 40, decaying(rank), rank) for rank in (5, 9)],
    "clustered": clustered,
    "decaying": lambda: [with_spectrum(360, 50, decaying(50, power), 7) for power in (0.7, 1.1)],
}


def family(name: str) -> list[torch.Tensor]:
    """Task vectors whose values float32 holds exactly, so that the reference sees what the merge sees."""
    return [tau.float() for tau in FAMILIES[name]()]


def rows_of(taus: list[torch.Tensor], step: int, seen: list[int] | None = None) -> globa_by_rows.Pass:
    def once() -> Iterator[list[torch.Tensor]]:
        if seen is not None:
            seen.append(step)
        for start in range(0, taus[0].shape[0], step):
            yield [tau[start : start + step] for tau in taus]

    return once


def merged(
    taus: list[torch.Tensor], options: LayerOptions, step: int = 37, coefficients: dict[str, float] = COEFFICIENTS
) -> torch.Tensor:
    mixtures = globa_by_rows.mixtures(rows_of(taus, step), taus[0].shape[0], options, coefficients)
    assert mixtures is not None
    return sum((tau.double() @ mixture for tau, mixture in zip(taus, mixtures, strict=True)), torch.zeros(()))


def by_analysis(taus: list[torch.Tensor], options: LayerOptions) -> torch.Tensor:
    found = pruned_matrices(torch.zeros_like(taus[0]), [*taus], options)
    return merged_delta(found.left, weighted_core(found.cores, options.anchor, COEFFICIENTS), found.right)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_part_is_that_of_the_reference(name: str, pattern: str) -> None:
    taus = family(name)
    wanted = globa.analyse([tau.double().numpy() for tau in taus], tolerance=1e-4).delta(pattern)
    found = merged(taus, DEFAULTS, coefficients={each: float(each == pattern) for each in PATTERNS})
    scale = sum(float(tau.norm()) for tau in taus)
    assert float(np.linalg.norm(found.numpy() - wanted)) <= 5e-7 * scale


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("anchor", [0, -1])
def test_any_number_of_tasks_and_any_anchor_give_what_the_analysis_gives(tasks: int, anchor: int) -> None:
    taus = [gaussian(400, 50, seed).float() for seed in range(tasks)]
    options = LayerOptions((0.9, 0.99, 0.95)[:tasks], (0.95, 0.8, 0.9)[:tasks], anchor=anchor % tasks)
    assert relative(merged(taus, options), by_analysis(taus, options).double()) <= 2e-6


def test_how_many_rows_come_at_a_time_does_not_matter() -> None:
    taus = family("random")
    once = merged(taus, DEFAULTS, step=400)
    assert all(relative(merged(taus, DEFAULTS, step), once) <= 1e-11 for step in (1, 64, 399))


def test_rows_are_gone_over_twice() -> None:
    """Once here, and once by whoever mixes; where spaces nearly meet once more."""
    for taus, passes in ((family("random"), 1), ([family("random")[0]] * 2, 2)):
        seen: list[int] = []
        assert globa_by_rows.mixtures(rows_of(taus, 100, seen), 400, DEFAULTS, COEFFICIENTS) is not None
        assert len(seen) == passes


@pytest.mark.parametrize("second", ["same", "none", "near"])
def test_everything_kept_is_the_sum(second: str) -> None:
    first = gaussian(400, 50, 1).float()
    others = {"same": first, "none": torch.zeros_like(first), "near": first + 1e-5 * gaussian(400, 50, 2).float()}
    found = merged([first, others[second]], WHOLE, coefficients=dict.fromkeys(PATTERNS, 1.0))
    assert relative(found, (first + others[second]).double()) <= 1e-6


def test_a_small_angle_is_right_where_squares_do_not_show_it() -> None:
    """Of spectra that span four decades, inner products of singular vectors err by 1e-8; the angle is 1e-4."""
    left, right, values = orthonormal(300, 12, 1), orthonormal(30, 6, 2), torch.logspace(0, -4, 6).double()
    near = left[:, :6] * np.cos(1e-4) + left[:, 6:] * np.sin(1e-4)
    taus = [((space * values) @ right.T) for space in (left[:, :6], near)]
    once = rows_of(taus, 50)
    grams = globa_by_rows._grams(once, 2)
    tasks = globa_by_rows._decomposed(grams, 300, WHOLE)
    assert tasks is not None
    strengths = globa_by_rows._left(tasks, grams, 300, once, WHOLE).strengths
    weak = (1 - np.cos(1e-4)) ** 0.5
    assert strengths.tolist() == pytest.approx([(2 - weak**2) ** 0.5] * 6 + [weak] * 6, rel=1e-3)


@pytest.mark.parametrize("change", ["too small a value", "nan", "inf"])
def test_what_squares_do_not_hold_is_left_to_the_analysis(change: str) -> None:
    taus = family("random")
    if change == "too small a value":
        taus[1] = with_spectrum(400, 50, torch.logspace(0, -6, 50), 3).float()
    else:
        taus[1][399, 49] = float(change)
    assert globa_by_rows.mixtures(rows_of(taus, 100), 400, WHOLE, COEFFICIENTS) is None


def test_flat_matrices_and_other_bases_are_left_to_the_analysis() -> None:
    assert globa_by_rows.applies((400, 100), DEFAULTS)
    assert not globa_by_rows.applies((399, 100), DEFAULTS)
    assert not globa_by_rows.applies((100, 400), DEFAULTS)
    assert not globa_by_rows.applies((4, 0), DEFAULTS)
    for change in ({"basis": "anchored"}, {"basis": "lapack"}, {"dtype": torch.float64}):
        assert not globa_by_rows.applies((400, 100), LayerOptions((0.9,), (0.9,), **change))
