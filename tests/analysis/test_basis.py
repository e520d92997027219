"""Global bases: orthonormal, spanning, cut by energy, unique in clusters."""

import math

import pytest
import torch

from analysis.basis import anchored_basis, canonical, canonical_basis, cluster_tolerance, find_clusters, lapack_basis
from analysis.basis.angles import cross_product
from analysis.basis.canonical import _combine, _mix, polish
from analysis.basis.side import positive_signs
from tests.analysis.matrices import decaying, defect, gaussian, generator, orthonormal, relative


def spaces_at_angles(degrees: list[float], dim: int = 40) -> list[torch.Tensor]:
    """Two spaces with exactly these principal angles."""
    axes = orthonormal(dim, 2 * len(degrees), 1)
    first, away = axes[:, : len(degrees)], axes[:, len(degrees) :]
    radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return [first, first * radians.cos() + away * radians.sin()]


def identity_error(vectors: torch.Tensor) -> float:
    wide = vectors.double()
    return float((wide.T @ wide - torch.eye(wide.shape[1], dtype=torch.float64)).abs().max())


def test_strengths_are_root_one_plus_minus_cosine():
    angles = [10.0, 45.0, 90.0]
    values = [decaying(3), decaying(3, 0.3)]
    found = canonical_basis(spaces_at_angles(angles), values, 1.0)
    cosines = [math.cos(math.radians(angle)) for angle in angles]
    wanted = sorted([math.sqrt(1 + sign * c) for c in cosines for sign in (1, -1)], reverse=True)
    assert found.strengths.tolist() == pytest.approx(wanted, abs=1e-9)
    assert found.clustered.tolist() == [False, False, True, True, False, False]


def test_the_energy_cut_takes_the_smallest_rank_that_reaches_it():
    spaces = spaces_at_angles([10.0, 60.0])  # λ: 1.985, 1.5, .5, .015 of 4
    values = [decaying(2), decaying(2)]
    for energy, rank in ((0.4, 1), (0.5, 2), (0.87, 2), (0.88, 3), (0.996, 3), (0.999, 4), (1.0, 4)):
        assert canonical_basis(spaces, values, energy).rank == rank, energy


@pytest.mark.parametrize("make", [canonical_basis, lapack_basis])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bases_are_orthonormal_and_give_coordinates_back(make, dtype):
    spaces = [space.to(dtype) for space in spaces_at_angles([0.5, 2.0, 30.0, 90.0])]
    found = make(spaces, [decaying(4), decaying(4)], 1.0)
    assert identity_error(found.vectors) <= 8 * torch.finfo(dtype).eps
    for space, coordinates in zip(spaces, found.coordinates, strict=True):
        assert relative(found.vectors.double() @ coordinates, space) <= 1e3 * torch.finfo(dtype).eps


def test_three_tasks_agree_with_an_svd_of_the_concatenation():
    spaces = [orthonormal(30, rank, seed) for rank, seed in ((4, 1), (6, 2), (3, 3))]
    values = [decaying(4), decaying(6), decaying(3)]
    found = canonical_basis(spaces, values, 1.0)
    wanted, strengths, _ = torch.linalg.svd(torch.cat(spaces, dim=1), full_matrices=False)
    assert relative(found.strengths, strengths) <= 1e-12
    assert relative(found.vectors.abs(), wanted.abs()) <= 1e-8


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_the_products_do_not_depend_on_the_chunk(chunk):
    spaces = [orthonormal(30, 5, 1), orthonormal(30, 6, 2)]
    assert relative(cross_product(*spaces, chunk=chunk), spaces[0].T @ spaces[1]) <= 1e-14
    coordinates, strengths = [gaussian(8, 5, 3), gaussian(8, 6, 4)], decaying(8)
    wanted = sum(space @ part.T for space, part in zip(spaces, coordinates, strict=True))
    for strong in (0, 4, 8):
        found = _combine(spaces, coordinates, strengths, strong, chunk)
        assert relative(found, wanted / strengths.square()) <= 1e-14
    result = torch.zeros(30, 8, dtype=torch.float64)
    _mix(spaces, [part.T for part in coordinates], result, chunk)
    assert relative(result, wanted) <= 1e-14


def test_a_weak_direction_is_combined_in_float64():
    """Rounding in the product would be amplified by 1/s², here by 660,000; that of the bases is in both."""
    single = [space.float() for space in spaces_at_angles([0.1, 40.0])]
    values = [decaying(2), decaying(2)]
    weak, exact = (canonical_basis(spaces, values, 1.0) for spaces in (single, [space.double() for space in single]))
    assert weak.strengths[-1] < 0.002
    assert relative(weak.vectors[:, -1].double(), exact.vectors[:, -1]) <= 5e-6


def test_a_cluster_is_ordered_by_how_strongly_the_tasks_use_it():
    axes = orthonormal(20, 5, 1)
    spaces, values = [axes[:, :2], axes[:, 2:]], [torch.tensor([5.0, 1.0]), torch.tensor([4.0, 3.0, 2.0])]
    values = [sigma.double() for sigma in values]
    found = canonical_basis(spaces, values, 1.0)
    assert bool(found.clustered.all())
    energy = sum((c * s).square().sum(dim=1) for c, s in zip(found.coordinates, values, strict=True))
    assert energy.tolist() == pytest.approx([25.0, 16.0, 9.0, 4.0, 1.0])
    assert found.cluster_energy(values) == pytest.approx(55.0)


def test_the_choice_in_a_cluster_does_not_depend_on_the_input_basis():
    axes = orthonormal(20, 6, 1)
    values = [decaying(3), 0.7 * decaying(3, 0.4)]
    spaces = [axes[:, :3], axes[:, 3:]]
    found = canonical_basis(spaces, values, 1.0)
    turned = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64, generator=generator(4)))[0]
    again = canonical_basis([turned @ space for space in spaces], values, 1.0)
    assert relative((turned @ found.vectors).abs(), again.vectors.abs()) <= 1e-10


def test_signs_make_the_largest_entry_positive():
    vectors = torch.tensor([[0.1, -0.9, 0.5], [-0.8, 0.2, -0.5]])
    assert positive_signs(vectors).tolist() == [-1.0, -1.0, 1.0]
    found = canonical_basis([orthonormal(15, 4, 1), orthonormal(15, 4, 2)], [decaying(4), decaying(4)], 1.0)
    assert bool((positive_signs(found.vectors) == 1).all())


def test_clusters_are_runs_closer_than_the_tolerance():
    strengths = torch.tensor([1.4, 1.2, 1.2 - 5e-9, 1.0, 1.0 - 5e-9, 1.0 - 1e-8, 0.3])
    assert find_clusters(strengths.double(), 1e-6) == [(0, 1), (1, 3), (3, 6), (6, 7)]
    assert find_clusters(strengths.double()[:0], 1e-6) == []
    assert cluster_tolerance(torch.float64, 5000) < cluster_tolerance(torch.float32, 5000)


@pytest.mark.parametrize("directions", [1000, 5000, 20000])
def test_the_float32_tolerance_chains_no_distinct_angles_however_large_the_layer(directions: int):
    """Eigenvalues of a random matrix stand for distinct angles: few lie closer than the tolerance, many than 1e-4."""
    random = torch.randn(600, 600, dtype=torch.float64, generator=generator(3))
    values = torch.linalg.eigvalsh(random + random.mT)[100:500].flip(0)
    strengths = values * (2**0.5 / directions / float((values[:-1] - values[1:]).mean()))

    def chained(tolerance: float) -> float:
        inside = [stop - start for start, stop in find_clusters(strengths, tolerance) if stop - start > 1]
        return sum(inside) / len(strengths)

    assert chained(cluster_tolerance(torch.float32, directions)) <= 0.03
    if directions > 1000:
        assert chained(1e-4) > 0.1


def test_equal_values_stay_one_cluster_at_the_tolerance_of_a_large_layer():
    """What float32 bases round lies far below the smallest tolerance: unmatched directions still form one cluster."""
    axes = orthonormal(400, 300, 2).float()
    rounding = torch.linalg.svdvals(axes.double())
    assert find_clusters(rounding, cluster_tolerance(torch.float32, 100_000)) == [(0, 300)]


def test_shared_directions_appear_once():
    axes = orthonormal(12, 5, 1).float()
    found = canonical_basis([axes, axes], [decaying(5), decaying(5)], 1.0)
    assert found.rank == 5
    assert found.strengths.tolist() == pytest.approx([math.sqrt(2)] * 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_of_three_tasks_appear_once(dtype):
    """What they take from the rank are eigenvalues at the rounding of a Gram matrix, which are no directions."""
    axes = orthonormal(40, 13, 1)
    spaces = [torch.cat([axes[:, :10], axes[:, own : own + 1]], dim=1).to(dtype) for own in (10, 11, 12)]
    found = canonical_basis(spaces, [decaying(11)] * 3, 1.0)
    assert found.rank == 13
    assert found.strengths.tolist() == pytest.approx([math.sqrt(3)] * 10 + [1] * 3)


def test_two_tasks_may_be_as_close_as_float64_tells():
    axes = orthonormal(64, 2, 3)
    found = canonical_basis([axes[:, :1], axes[:, :1] + 1e-9 * axes[:, 1:]], [decaying(1)] * 2, 1.0)
    assert found.strengths.tolist() == pytest.approx([math.sqrt(2), 1e-9 / math.sqrt(2)], rel=1e-6)
    assert relative(found.vectors[:, 1].abs(), axes[:, 1].abs()) <= 1e-5


def test_the_anchored_basis_leads_with_the_anchor():
    spaces = spaces_at_angles([20.0, 50.0, 80.0])
    values = [decaying(3), torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)]
    found = anchored_basis(spaces, values, 0)
    assert torch.equal(found.vectors[:, :3], spaces[0])
    assert identity_error(found.vectors) <= 1e-12
    assert torch.equal(found.coordinates[0], torch.cat([torch.eye(3), torch.zeros(3, 3)]).double())
    outside = [
        math.sin(math.radians(angle)) * float(value) for angle, value in zip((20, 50, 80), values[1], strict=True)
    ]
    assert found.strengths[3:].tolist() == pytest.approx(sorted(outside, reverse=True))
    assert not found.clustered.any()


@pytest.mark.parametrize("anchor", [0, 1, 2])
def test_the_anchored_basis_spans_any_number_of_tasks(anchor):
    """Each task is its coordinates, and what is added holds all others outside the anchor, strongest first."""
    spaces = [orthonormal(30, rank, seed) for seed, rank in enumerate((4, 3, 5))]
    values = [decaying(rank) for rank in (4, 3, 5)]
    found = anchored_basis(spaces, values, anchor)
    assert torch.equal(found.vectors[:, : spaces[anchor].shape[1]], spaces[anchor])
    assert identity_error(found.vectors) <= 1e-12
    assert found.rank == 12
    for space, coordinates in zip(spaces, found.coordinates, strict=True):
        assert relative(found.vectors @ coordinates, space) <= 1e-12
    assert bool((found.strengths[spaces[anchor].shape[1] :].diff() < 0).all())


def test_a_single_direction_is_added_to_an_anchor_without_any():
    found = anchored_basis([torch.zeros(1, 0).double(), torch.ones(1, 1).double()], [decaying(0), decaying(1)], 0)
    assert found.vectors.tolist() == [[1.0]]


def test_nothing_is_added_for_a_task_inside_the_anchor():
    axes = orthonormal(12, 6, 1)
    found = anchored_basis([axes, axes[:, 2:5]], [decaying(6), decaying(3)], 0)
    assert found.rank == 6


@pytest.mark.parametrize("make", [canonical_basis, lapack_basis, lambda b, v, e: anchored_basis(b, v, 0)])
def test_empty_tasks_give_the_other_one_or_nothing(make):
    axes, none = orthonormal(12, 4, 1), torch.zeros(12, 0, dtype=torch.float64)
    values = decaying(4), torch.zeros(0, dtype=torch.float64)
    assert make([axes, none], list(values), 1.0).rank == 4
    assert make([none, axes], list(values)[::-1], 1.0).rank == 4
    assert make([none, none], [values[1]] * 2, 1.0).rank == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [3e-5, 1e-4, 1e-3, 2.6e-3])
def test_small_angles_are_kept(dtype, angle):
    axes = orthonormal(64, 16, 3)
    spaces = [axes[:, :8].to(dtype), (axes[:, :8] * math.cos(angle) + axes[:, 8:] * math.sin(angle)).to(dtype)]
    found = canonical_basis(spaces, [decaying(8), decaying(8)], 1.0)
    assert found.rank == 16
    assert found.strengths[8:].tolist() == pytest.approx([math.sin(angle) / math.sqrt(2)] * 8, rel=1e-2)
    assert identity_error(found.vectors) <= 1e-5
    for space, coordinates in zip(spaces, found.coordinates, strict=True):
        assert relative(found.vectors.double() @ coordinates, space) <= (1e-6 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("rows", [1, 3, 256])
def test_weak_directions_come_some_rows_at_a_time(monkeypatch, rows):
    monkeypatch.setattr(canonical, "_ROWS", rows)
    angles = [5.0, 20.0, 40.0, 55.0, 70.0, 80.0, 85.0]
    found = canonical_basis(spaces_at_angles(angles), [decaying(7), decaying(7)], 1.0)
    assert found.rank == 14
    assert defect(found.vectors) <= 1e-12
    for space, part in zip(spaces_at_angles(angles), found.coordinates, strict=True):
        assert relative(found.vectors @ part, space) <= 1e-12


@pytest.mark.parametrize("size", [0.8, 1.2, 2.0, 1e6, 1e-3])
def test_columns_far_from_orthonormal_become_so_all_the_same(size):
    """From an eigenvalue of 3 on Newton–Schulz steps lead away, and from a small one not far enough."""
    vectors = orthonormal(30, 8, 1)
    vectors[:, 6] *= size
    vectors[:, 7] += 0.1 * vectors[:, 6]
    found = polish(vectors.clone(), 3)
    # What the sound columns hold of a long one is as long times its rounding.
    assert defect(found) <= 1e-10
    assert relative(found[:, :7], orthonormal(30, 8, 1)[:, :7]) <= 1e-10
