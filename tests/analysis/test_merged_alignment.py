"""Cross-influence, full coefficients and the alignment index, against equations 3–8 written out."""

import numpy as np
import pytest
import torch

from analysis import leading
from analysis.cross_influence import cross_influences, direction_images
from analysis.decompose import truncated_svd
from analysis.leading import strongest_triplets
from analysis.merged_alignment import alignment_of_products, merged_alignment, starting_directions, sum_alignment
from analysis.product import Product
from tests.analysis.matrices import decaying, gaussian, orthonormal, with_spectrum
from tests.reference import alignmerge

SHAPE = 24, 18


def total_of(taus: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(taus).sum(0)


def tasks(count: int) -> list[torch.Tensor]:
    return [with_spectrum(*SHAPE, decaying(18), seed) for seed in range(1, count + 1)]


@pytest.mark.parametrize("ratio", ["damped", "exact"])
@pytest.mark.parametrize("count", [2, 4])
def test_influence_is_the_equation_in_every_direction(ratio, count):
    taus = tasks(count)
    found = merged_alignment(total_of(taus), taus)
    u, s, vt = np.linalg.svd(total_of(taus).numpy())
    assert found.values.tolist() == pytest.approx(s)
    assert found.share == pytest.approx(1.0)
    matrix = getattr(found, ratio)
    assert matrix.diagonal().numpy() == pytest.approx(1.0)
    for r in range(18):
        for i, j in ((0, 1), (1, 0), (count - 1, 0)):
            wanted = alignmerge.cross_influence(taus[i].numpy(), taus[j].numpy(), u[:, r], vt[r], ratio)
            assert float(matrix[i, j, r]) == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_coefficients_are_equation_7_for_any_merge(scale):
    """The plain sum has η = 1; another merge of the same task vectors another η."""
    taus = tasks(3)
    merged = scale * (taus[0] + 0.5 * taus[1] + taus[2])
    found = merged_alignment(merged, taus)
    deltas = [tau.numpy() for tau in taus]
    assert found.coefficients.numpy() == pytest.approx(
        alignmerge.full_coefficients(deltas, merged.numpy(), "damped"), rel=1e-6
    )
    assert found.exact_coefficients.numpy() == pytest.approx(
        alignmerge.full_coefficients(deltas, merged.numpy(), "exact"), rel=1e-6
    )
    assert merged_alignment(total_of(taus), taus).scale.tolist() == pytest.approx([1.0] * 18)


def test_one_task_alone_is_undisturbed():
    """SAI = 0 for K = 1, and scaling the merge by c makes it c − 1."""
    (tau,) = tasks(1)
    assert merged_alignment(tau, [tau]).signed_index.numpy() == pytest.approx(0.0, abs=1e-9)
    assert merged_alignment(0.7 * tau, [tau]).signed_index.numpy() == pytest.approx(-0.3)


def test_tasks_in_spaces_of_their_own_do_not_touch():
    """Orthogonal task vectors: no influence, index 0 for the owner of a direction; equal ones: influence 1, index 1."""
    left, right = orthonormal(24, 8, 1), orthonormal(18, 8, 2)
    values = torch.tensor([8.0, 7.0, 6.0, 5.0])
    one, two = (left[:, :4] * values) @ right[:, :4].T, (left[:, 4:] * (values - 0.5)) @ right[:, 4:].T
    found = merged_alignment(one + two, [one, two])
    assert found.damped[0, 1].numpy() == pytest.approx(0.0, abs=1e-12)
    assert found.signed_index[0, 0] == pytest.approx(0.0, abs=1e-12)
    same = merged_alignment(2 * one, [one, one])
    assert same.damped[0, 1].numpy() == pytest.approx(1.0)
    assert same.mean(same.signed_index).tolist() == pytest.approx([1.0, 1.0])


def test_a_task_without_a_part_in_a_direction_has_no_quotient():
    one, two = tasks(2)
    images = [direction_images(tau, torch.eye(24).double()[:, :1], torch.eye(18).double()[:, :1]) for tau in (one, two)]
    none = direction_images(0 * one, torch.eye(24).double()[:, :1], torch.eye(18).double()[:, :1])
    found = cross_influences([images[0], none], "damped")
    assert found[1].flatten().tolist() == [0.0, 0.0]
    assert found[0, 1].item() == 0.0
    nothing = merged_alignment(0 * one, [one, -one])
    assert (nothing.values.numel(), nothing.share) == (0, 0.0)


AXES = torch.eye(24, dtype=torch.float64)[:, :1], torch.eye(18, dtype=torch.float64)[:, :1]


@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("ratio", ["damped", "exact"])
def test_a_divisor_vanishes_at_a_share_of_the_norm(ratio, acts):
    """A task acts on a direction down to 1e-10 of its size; both quotients of the equation have their own divisor."""
    share = 1e-8 if acts else 1e-12
    there, here, other, beside, along = (torch.zeros(24, 18, dtype=torch.float64) for _ in range(5))
    there[1, 1], there[0, 0] = 1.0, share
    here[0, 1], here[0, 0] = 1.0, share
    other[0, 0] = 1.0
    beside[1, 1], beside[0, 1] = 1.0, share
    along[0, 1] = 1.0
    images = [direction_images(tau, *AXES) for tau in (there, here, other, beside, along)]
    found = cross_influences(images, ratio)
    assert found[0, 0].item() == pytest.approx(1.0 if acts else 0.0)
    assert found[1, 2].item() == pytest.approx(1 / share if acts else 0.0, rel=1e-9, abs=1e-11)
    assert found[3, 4].item() == pytest.approx(1 / share if acts and ratio == "damped" else 0.0)


def test_the_size_of_a_task_vector_is_its_norm():
    product = Product(1e-3 * gaussian(24, 3, 1), gaussian(3, 18, 2))
    dense = product.dense(torch.float64)
    for tau in (product, dense):
        assert direction_images(tau, *AXES).size == pytest.approx(float(dense.norm()), rel=1e-12)


def test_factors_are_never_multiplied_out_and_say_the_same():
    products = [Product(gaussian(24, 3, seed), gaussian(3, 18, seed + 10)) for seed in (1, 2)]
    dense = [product.dense(torch.float64) for product in products]
    fast, slow = alignment_of_products(products), merged_alignment(dense[0] + dense[1], dense)
    assert len(fast.values) == 6
    assert fast.values.tolist() == pytest.approx(slow.values[:6].tolist(), rel=1e-12)
    assert fast.coefficients.numpy() == pytest.approx(slow.coefficients[:, :6].numpy(), rel=1e-9)
    assert fast.share == pytest.approx(1.0)


@pytest.mark.parametrize("known", [True, False])
def test_the_iteration_finds_what_a_full_decomposition_finds(monkeypatch, known):
    monkeypatch.setattr(leading, "SMALLEST_SIDE", 64)
    taus = [with_spectrum(320, 300, torch.arange(1.0, 301.0) ** -0.9, seed) for seed in (1, 2)]
    total = 1e20 * (taus[0] + taus[1])
    monkeypatch.setattr(leading, "SMALLEST_BLOCK", 24)
    near = torch.cat([torch.linalg.svd(tau)[2][:12].mT for tau in taus], 1) if known else total[:0].mT
    found = strongest_triplets(total, near, 12)
    u, s, vt = np.linalg.svd(total.numpy())
    assert found.rank == 12
    assert found.values.tolist() == pytest.approx(s[:12])
    assert np.abs((found.left.numpy() * u[:, :12]).sum(0)) == pytest.approx(1.0, abs=1e-7)
    assert np.abs((found.right.numpy().T * vt[:12]).sum(1)) == pytest.approx(1.0, abs=1e-7)
    back = (total.mT @ found.left).numpy()
    assert found.back.numpy() == pytest.approx(back, rel=1e-9, abs=1e-9 * np.abs(back).max())


def test_the_iteration_starts_from_the_same_columns_whatever_was_drawn_before(monkeypatch):
    monkeypatch.setattr(leading, "SMALLEST_SIDE", 64)
    matrix = with_spectrum(320, 300, torch.arange(1.0, 301.0) ** -0.9, 1)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(strongest_triplets(matrix, matrix[:0].mT, 12))
    for one, two in zip(vars(found[0]).values(), vars(found[1]).values(), strict=True):
        assert torch.equal(one, two)


def test_the_search_for_a_sum_of_low_ranks_starts_where_it_ends(monkeypatch):
    """Also for the directions that truncation left out, which are as strong in the sum as others."""
    taus = [with_spectrum(384, 400, torch.linspace(1.0, 0.8, 16), seed).float() for seed in (1, 2)]
    svds = [truncated_svd(tau, 0.8) for tau in taus]
    assert sum(svd.rank for svd in svds) < 28
    near = starting_directions(svds)
    assert near.shape == (400, 32)
    monkeypatch.setattr(leading, "_MOST_STEPS", 1)
    found = strongest_triplets(taus[0] + taus[1], near, 32)
    s = np.linalg.svd(total_of(taus).double().numpy())[1]
    assert found.values.tolist() == pytest.approx(s[:32].tolist(), rel=1e-5)


def test_the_search_for_a_sum_of_many_strong_directions_starts_from_the_first_of_each():
    taus = [with_spectrum(60, 50, torch.linspace(1.0, 0.5, 50), seed) for seed in (1, 2, 3)]
    svds = [truncated_svd(tau, 0.9) for tau in taus]
    assert starting_directions(svds).numpy() == pytest.approx(np.hstack([svd.right[:, :16].numpy() for svd in svds]))


@pytest.mark.parametrize("sizes", [(1.0, 1.0, 0.3), (1e-4, 1.0, 0.0), (1.0, 1e-4, 1e-4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_longest_task_follows_from_the_sum(sizes, dtype):
    taus = [(size * tau).to(dtype) for size, tau in zip(sizes, tasks(3), strict=True)]
    asked = []

    def task_vector(task: int) -> torch.Tensor:
        asked.append(task)
        return taus[task]

    norms = [float(tau.norm()) for tau in taus]
    fast = sum_alignment(total_of(taus), task_vector, norms, taus[0].mT[:, :4])
    slow = merged_alignment(total_of(taus), taus)
    assert len(asked) == 2
    assert norms.index(max(norms)) not in asked
    rel, floor = (1e-3, 1e-4) if dtype == torch.float32 else (1e-8, 1e-9)
    for name in ("damped", "exact"):
        for i, j in np.ndindex(3, 3):
            wanted = float(slow.mean(getattr(slow, name))[i, j])
            assert fast.mean(getattr(fast, name))[i, j] == pytest.approx(wanted, rel=rel, abs=floor), (name, i, j)
    assert fast.scale.tolist() == pytest.approx([1.0] * len(fast.values))
    assert fast.share == pytest.approx(slow.share, rel=1e-6)


@pytest.mark.parametrize(("rows", "cols"), [(40, 30), (30, 40)])
@pytest.mark.parametrize("smallest", [1e-3, 1e-5])
def test_small_matrices_are_decomposed_whole(rows: int, cols: int, smallest: float):
    """Through a Gram matrix, or by LAPACK where a Gram matrix would lose the smallest values."""
    values = torch.logspace(0, float(np.log10(smallest)), 30)
    matrix = with_spectrum(rows, cols, values, 3)
    found = strongest_triplets(matrix, matrix[:0].mT, 30)
    assert found.values.tolist() == pytest.approx(values.tolist(), rel=1e-8)
    whole = (found.left * found.values) @ found.right.mT
    assert whole.numpy() == pytest.approx(matrix.numpy(), abs=1e-10)
    assert found.back.numpy() == pytest.approx((matrix.mT @ found.left).numpy(), abs=1e-9)
    for count in (12, 28):
        assert strongest_triplets(matrix, matrix[:0].mT, count).values.tolist() == pytest.approx(
            values[:count].tolist()
        )


def test_a_small_matrix_is_decomposed_where_the_iteration_leaves_directions(monkeypatch):
    monkeypatch.setattr(leading, "SMALLEST_SIDE", 64)
    monkeypatch.setattr(leading, "SMALLEST_BLOCK", 8)
    matrix = with_spectrum(150, 120, torch.linspace(1.0, 0.9, 120), 1)
    assert strongest_triplets(matrix, matrix[:0].mT, 12).rank == 12


def test_directions_that_are_not_determined_are_left_out(monkeypatch):
    """A cluster of equal values behind five others: the five are found, the cluster has no directions to tell."""
    monkeypatch.setattr(leading, "SMALLEST_SIDE", 64)
    monkeypatch.setattr(leading, "SMALL_SIDE", 64)
    monkeypatch.setattr(leading, "SMALLEST_BLOCK", 8)
    values = torch.cat([torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0]), torch.linspace(1.0, 0.9, 115)])
    matrix = with_spectrum(150, 120, values, 1)
    found = strongest_triplets(matrix, matrix[:0].mT, 12)
    assert found.rank == 5
    assert found.values.tolist() == pytest.approx([9.0, 8.0, 7.0, 6.0, 5.0])


def test_a_rank_below_the_block_is_found_whole(monkeypatch):
    monkeypatch.setattr(leading, "SMALLEST_SIDE", 64)
    monkeypatch.setattr(leading, "SMALLEST_BLOCK", 10)
    matrix = gaussian(120, 3, 1) @ gaussian(3, 90, 2)
    found = strongest_triplets(matrix.float(), matrix[:0].mT, 32)
    assert found.rank == 3
    assert found.values.tolist() == pytest.approx(np.linalg.svd(matrix.numpy())[1][:3].tolist(), rel=1e-6)
    overflown = torch.full((90, 90), float("inf"))
    assert strongest_triplets(overflown, overflown[:0].mT, 4).rank == 0
