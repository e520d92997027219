"""Alignment per rank and parameter conflict, against plain NumPy readings of the papers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import conflict
from analysis.alignment import rank_alignment
from analysis.conflict import ConflictSums, conflict_of_matrices, conflict_sums
from analysis.decompose import truncated_svd
from analysis.product import Product
from tests.analysis.matrices import decaying, gaussian, orthonormal, with_spectrum


def test_alignment_of_chosen_directions():
    left, right = orthonormal(20, 4, 1), orthonormal(15, 4, 2)
    values = decaying(3)
    first = truncated_svd((left[:, :3] * values) @ right[:, :3].T, 1.0)
    turned = torch.stack([left[:, 0], (left[:, 1] + left[:, 3]) / 2**0.5, left[:, 2]], dim=1)
    swapped = right[:, [0, 3, 2]]
    second = truncated_svd((turned * values) @ swapped.T, 1.0)
    found = rank_alignment(first, second)
    assert found.left.tolist() == pytest.approx([1.0, 0.5**0.5, 1.0])
    assert found.right.tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-12)
    assert found.similarity.diagonal().tolist() == pytest.approx([2.0, 0.5, 2.0])


@pytest.mark.parametrize("count", [1, 4, 32])
def test_similarity_sums_to_the_papers_figure(count):
    one, two = with_spectrum(40, 30, decaying(12), 1), with_spectrum(40, 30, decaying(9), 2)
    first, second = truncated_svd(one, 1.0), truncated_svd(two, 1.0)
    u, _, vt = np.linalg.svd(one.numpy())
    x, _, yt = np.linalg.svd(two.numpy())
    a, b = min(count, 12), min(count, 9)
    wanted = np.linalg.norm(u[:, :a].T @ x[:, :b]) ** 2 + np.linalg.norm(vt[:a] @ yt[:b].T) ** 2
    found = rank_alignment(first, second, count)
    assert float(found.similarity.sum()) == pytest.approx(wanted)
    top = min(a, b)
    rank_one = [np.linalg.norm((np.outer(u[:, r], vt[r])).T @ np.outer(x[:, r], yt[r])) for r in range(top)]
    assert found.left.tolist() == pytest.approx(rank_one)


def reading(base: np.ndarray, one: np.ndarray, two: np.ndarray) -> list[float]:
    """Equations 4–7."""
    first, second = one - base, two - base
    size = np.abs(first).sum() + np.abs(second).sum()
    differ = np.sign(first) != np.sign(second)
    return [
        np.abs(one - two).sum() / size,
        differ.mean(),
        np.abs((one - two)[differ]).sum() / size,
        (first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second)),
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 9999), st.floats(0.2, 1.0), st.integers(1, 64))
def test_conflict_is_the_papers_in_any_chunking(rows, cols, seed, density, chunk):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(rows, cols))
    one, two = (base + rng.normal(size=base.shape) * (rng.random(base.shape) < density) for _ in "ab")
    one[0, 0], two[0, 0] = base[0, 0] + 1, base[0, 0] - 2
    before, conflict.CHUNK = conflict.CHUNK, chunk
    try:
        found = conflict_sums(*(torch.from_numpy(weight) for weight in (base, one, two)))
    finally:
        conflict.CHUNK = before
    ratios = [
        found.magnitude_change_ratio, found.sign_change_ratio, found.conflicting_magnitude_change_ratio, found.cosine
    ]  # fmt: skip
    assert ratios == pytest.approx(reading(base, one, two), abs=1e-12)
    assert found.zeros == (int((one == base).sum()), int((two == base).sum()))


def test_sums_of_tensors_are_those_of_the_whole_vector():
    weights = [gaussian(6, 8, seed) for seed in (1, 2, 3)]
    whole = conflict_sums(*weights)
    parts = conflict_sums(*(w[:2] for w in weights)) + conflict_sums(*(w[2:] for w in weights))
    assert parts.cosine == pytest.approx(whole.cosine)
    assert parts.sign_change_ratio == whole.sign_change_ratio


def test_nothing_moved_has_no_ratios():
    same = conflict_sums(*(torch.ones(3),) * 3)
    assert (same.magnitude_change_ratio, same.cosine, same.sign_change_ratio) == (None, None, 0.0)
    assert ConflictSums().sign_change_ratio is None


def test_equal_tasks_have_no_conflict_and_opposite_ones_only_that():
    base, tau = gaussian(6, 8, 1), gaussian(6, 8, 2)
    same, opposite = conflict_sums(base, base + tau, base + tau), conflict_sums(base, base + tau, base - tau)
    assert (same.magnitude_change_ratio, same.sign_change_ratio, same.conflicting_magnitude_change_ratio) == (0, 0, 0)
    assert same.cosine == pytest.approx(1.0)
    assert opposite.magnitude_change_ratio == pytest.approx(1.0)
    assert opposite.sign_change_ratio == 1.0
    assert opposite.conflicting_magnitude_change_ratio == pytest.approx(1.0)
    assert opposite.cosine == pytest.approx(-1.0)


def test_factors_give_the_cosine_without_their_entries():
    """The other metrics are unknown, not zero, and do not disturb the sums of other matrices."""
    base = gaussian(12, 10, 1)
    products = [Product(gaussian(12, 2, seed), gaussian(2, 10, seed + 5)) for seed in (2, 3)]
    dense = conflict_sums(base, *(base + product.dense(torch.float64) for product in products))
    found = conflict_of_matrices(base, *products)
    assert found.cosine == pytest.approx(dense.cosine)
    assert (found.magnitude_change_ratio, found.sign_change_ratio, found.entries) == (None, None, 0)
    assert (found + dense).sign_change_ratio == dense.sign_change_ratio
    assert conflict_of_matrices(base, products[0], None).cosine is None
    assert conflict_of_matrices(base, None, None) == ConflictSums()


@pytest.mark.parametrize("chunk", [7, 1 << 15])
def test_factors_against_a_whole_matrix_are_formed_row_by_row(monkeypatch, chunk):
    monkeypatch.setattr(conflict, "CHUNK", chunk)
    base, tuned = gaussian(12, 10, 1), gaussian(12, 10, 4)
    adapter = Product(gaussian(12, 2, 2), gaussian(2, 10, 3))
    found = conflict_of_matrices(base, adapter, tuned)
    wanted = conflict_sums(base, base + adapter.dense(torch.float64), tuned)
    assert found.entries == 120
    assert found.magnitude_change_ratio == pytest.approx(wanted.magnitude_change_ratio)
    assert found.sign_change_ratio == wanted.sign_change_ratio
    assert found.cosine == pytest.approx(wanted.cosine)
