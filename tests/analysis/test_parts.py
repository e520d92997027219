"""Components, subspaces, merges and task vectors against plain formulas."""

import math

import numpy as np
import pytest
import torch

from analysis import components
from analysis import task_vector as task_vectors
from analysis.components import ONLY_ANCHOR, component_table, type_picture
from analysis.core import core_matrix
from analysis.decompose import truncated_svd
from analysis.errors import AnalysisError, NotFiniteError, OptionsError
from analysis.merge import METHODS, merge_method
from analysis.merge.globa import PATTERNS, merged_delta, weigh_in_place, weighted_core
from analysis.merge.linear import linear
from analysis.merge.task_arithmetic import task_arithmetic
from analysis.overlap import OverlapType, overlap_types
from analysis.relatedness import Relatedness, relatedness
from analysis.subspaces import subspace_overlap
from analysis.task_vector import frobenius_norm, task_vector
from tests.analysis.matrices import decaying, gaussian, orthonormal, relative, with_spectrum
from tests.reference import globa


def sparse(seed: int, density: float, shape: tuple[int, int] = (9, 13)) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=shape) * (rng.random(shape) < density))


def one_entry(row: int, col: int) -> torch.Tensor:
    found = torch.zeros(9, 13, dtype=torch.float64)
    found[row, col] = 2.0
    return found


@pytest.mark.parametrize(
    "first", [sparse(4, 0.2), torch.zeros(9, 13, dtype=torch.float64), one_entry(0, 0)], ids=["many", "none", "one"]
)
@pytest.mark.parametrize("chunk", [1 << 18, 30, 1])
def test_inner_products_are_those_of_the_parts(first, chunk, monkeypatch):
    monkeypatch.setattr(components, "_CHUNK", chunk)
    cores = [sparse(seed, 1.0) for seed in (1, 2, 3)]
    kept = [matrix != 0 for matrix in (first, sparse(5, 0.5), sparse(6, 0.4))]
    pruned = [core * mask for core, mask in zip(cores, kept, strict=True)]
    table = component_table(cores, kept, anchor=1)
    parts = [pruned[1].numpy()]
    for task in (0, 2):
        parts += list(globa.types(pruned[1].numpy(), pruned[task].numpy()).values())
    np.testing.assert_allclose(table.gram, [[np.sum(p * q) for q in parts] for p in parts], atol=1e-12)
    np.testing.assert_allclose(table.cross, [[np.sum(p * c.numpy()) for c in cores] for p in parts], atol=1e-12)
    assert [part.count for part in table.components] == [np.count_nonzero(part) for part in parts]
    assert [part.energy for part in table.components] == pytest.approx([float((part**2).sum()) for part in parts])
    assert table.task_energy == pytest.approx([float(core.square().sum()) for core in cores])


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_a_core_matrix_is_its_equation_in_any_chunking(chunk):
    left, values, right = gaussian(8, 5, 1), decaying(5), gaussian(7, 5, 2)
    assert relative(core_matrix(left, values, right, chunk), left @ torch.diag(values) @ right.T) <= 1e-14


def test_the_picture_shows_the_strongest_type_of_a_tile():
    first = torch.zeros(4, 6, dtype=torch.float64)
    first[0, 0] = 1.0
    second = torch.zeros_like(first)
    second[0, 0], second[0, 1], second[3, 5] = 2.0, 1.0, 1.0
    full = type_picture(first, second)
    assert torch.equal(full, overlap_types(first, second))
    small = type_picture(first, second, height=2, width=3)
    assert small.tolist() == [[OverlapType.SAME_SIGN, 0, 0], [0, 0, OverlapType.DISJOINT]]
    assert type_picture(first, torch.zeros_like(first))[0, 0] == ONLY_ANCHOR
    assert type_picture(first[:0], second[:0]).shape == (0, 6)
    assert type_picture(sparse(1, 0.1, (100, 200)), sparse(2, 0.1, (100, 200))).shape == (64, 128)


def test_subspaces_at_a_chosen_angle():
    axes, inputs = orthonormal(30, 4, 1), orthonormal(20, 4, 2)
    angle = math.radians(30)
    turned = math.cos(angle) * axes[:, :2] + math.sin(angle) * axes[:, 2:]
    values = torch.tensor([2.0, 1.0], dtype=torch.float64)
    first = truncated_svd((axes[:, :2] * values) @ inputs[:, :2].T, 1.0)
    second = truncated_svd((turned * values) @ inputs[:, 2:].T, 1.0)
    found = subspace_overlap(first, second)
    assert found.left == pytest.approx(math.cos(angle) ** 2)
    assert found.right == pytest.approx(0.0, abs=1e-12)
    assert found.left_angles.tolist() == pytest.approx([angle, angle])
    assert found.right_angles.tolist() == pytest.approx([math.pi / 2] * 2)
    assert found.output_shared == pytest.approx(math.cos(angle) ** 2)
    assert found.none_shared == pytest.approx(math.sin(angle) ** 2)
    assert (found.both_shared, found.input_shared) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_the_four_blocks_are_the_energy_of_the_appendix():
    one, two = with_spectrum(24, 18, decaying(5), 1), with_spectrum(24, 18, decaying(7), 2)
    first, second = truncated_svd(one, 1.0), truncated_svd(two, 1.0)
    inside_left, inside_right = first.left @ first.left.T, first.right @ first.right.T
    found = subspace_overlap(first, second)
    outside_left, outside_right = torch.eye(24) - inside_left, torch.eye(18) - inside_right
    blocks = [
        float((left @ two @ right).norm() ** 2 / two.norm() ** 2)
        for left, right in (
            (inside_left, inside_right),
            (inside_left, outside_right),
            (outside_left, inside_right),
            (outside_left, outside_right),
        )
    ]
    shares = [found.both_shared, found.output_shared, found.input_shared, found.none_shared]
    assert shares == pytest.approx(blocks, abs=1e-12)
    assert sum(shares) == pytest.approx(1.0)
    small = subspace_overlap(first, truncated_svd(1e-3 * two, 1.0))
    assert small.none_shared == pytest.approx(found.none_shared), "shares do not depend on the size"
    nothing = subspace_overlap(first, truncated_svd(torch.zeros(24, 18), 1.0))
    assert (nothing.both_shared, nothing.none_shared) == (0.0, 0.0)


def test_weights_of_a_merge_go_to_their_parts():
    pruned = [sparse(1, 0.3), sparse(2, 0.6)]
    alphas = dict(zip(PATTERNS, (0.9, 1.1, 0.2, -0.5, 0.7, 1.3, 0.4), strict=True))
    wanted = alphas["C1"] * pruned[0].numpy()
    for kind, part in globa.types(pruned[0].numpy(), pruned[1].numpy()).items():
        wanted = wanted + alphas[kind] * part
    np.testing.assert_allclose(weighted_core(pruned, 0, alphas), wanted, atol=1e-15)
    with pytest.raises(OptionsError, match="one for each of C1, A"):
        weighted_core(pruned, 0, {"A": 1.0})


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_weights_go_to_their_parts_in_the_memory_of_the_anchor(monkeypatch, tasks):
    """Some rows after others: which columns the anchor uses is known from all of them, also when some are done."""
    pruned = [sparse(seed, 0.3) for seed in range(1, tasks + 1)]
    alphas = dict(zip(PATTERNS, (0.9, 1.1, 0.2, -0.5, 0.7, 1.3, 0.4), strict=True))
    wanted = alphas["C1"] * pruned[-1].numpy()
    for core in pruned[:-1]:
        for kind, part in globa.types(pruned[-1].numpy(), core.numpy()).items():
            wanted = wanted + alphas[kind] * part
    monkeypatch.setattr("analysis.overlap._CHUNK", 2 * pruned[0].shape[1])
    found = weigh_in_place(pruned, tasks - 1, alphas)
    assert found is pruned[-1]
    np.testing.assert_allclose(found, wanted, atol=1e-15)


@pytest.mark.parametrize("ranks", [(3, 5), (5, 3)])
def test_the_merged_delta_is_the_product_of_its_factors(ranks):
    left, right = orthonormal(8, ranks[0], 1), orthonormal(9, ranks[1], 2)
    core = gaussian(*ranks, seed=3)
    assert relative(merged_delta(left, core, right), left @ core @ right.T) <= 1e-14


def test_task_arithmetic_and_averages():
    taus = [gaussian(4, 5, seed) for seed in (1, 2, 3)]
    assert relative(task_arithmetic(taus), sum(taus)) <= 1e-14
    assert (
        relative(task_arithmetic(taus, weight=(1, 2, 0.5), scale=0.3), 0.3 * (taus[0] + 2 * taus[1] + taus[2] / 2))
        <= 1e-14
    )
    assert relative(linear(taus), sum(taus) / 3) <= 1e-14
    assert relative(linear(taus, weight=(1, 2, 1)), (taus[0] + 2 * taus[1] + taus[2]) / 4) <= 1e-14
    with pytest.raises(OptionsError, match="sum to 0"):
        linear(taus, weight=(1, -1, 0))
    with pytest.raises(OptionsError, match="2 values for 3"):
        task_arithmetic(taus, weight=(1, 2))
    with pytest.raises(OptionsError, match="must be a number"):
        task_arithmetic(taus, weight=float("nan"))


def test_methods_are_found_by_name_and_know_their_parameters():
    taus = [gaussian(4, 5, seed) for seed in (1, 2)]
    assert relative(merge_method("linear").merge(taus, {"weight": (3, 1)}), 0.75 * taus[0] + 0.25 * taus[1]) <= 1e-14
    with pytest.raises(OptionsError, match=r"unknown merge method 'sum'; choose globa or one of linear"):
        merge_method("sum")
    with pytest.raises(OptionsError, match="no parameter 'density'; it knows normalize, scale, variant, weight"):
        METHODS["task_arithmetic"].merge(taus, {"density": 1})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_task_vector_is_the_difference_of_the_widened_weights(dtype):
    base, tuned = gaussian(6, 7, 1, 1.0).to(dtype), gaussian(6, 7, 2, 1.0).to(dtype)
    assert torch.equal(task_vector(tuned, base, torch.float64), tuned.double() - base.double())
    assert torch.equal(task_vector(tuned, base), tuned.float() - base.float())
    assert not task_vector(base, base).any()


def test_task_vectors_refuse_what_they_cannot_subtract():
    with pytest.raises(AnalysisError, match=r"shape \(2, 3\), the base \(3, 2\)"):
        task_vector(torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(NotFiniteError, match="overflows torch.float32; use precision float64"):
        task_vector(torch.full((2, 2), 3e38), torch.full((2, 2), -3e38))
    assert frobenius_norm(torch.full((4,), 1e30)) == pytest.approx(2e30)


@pytest.mark.parametrize("piece", [1, 7, 12, 1 << 18])
@pytest.mark.parametrize(
    ("of", "row"),
    [
        (lambda x: x[0, 0, 0], 1),
        (lambda x: x[:0], 1),
        (lambda x: x[:, 0, 0], 1),
        (lambda x: x[:1, :, 0], 1),
        (lambda x: x[0].mT, 1),
        (lambda x: x.permute(2, 0, 1), 1),
        (lambda x: x, 1),
        (lambda x: x[:, 1], 5),
        (lambda x: x[:, :, :4], 24),
    ],
)
def test_a_norm_is_taken_in_pieces_of_any_size_whatever_the_layout(monkeypatch, piece, of, row):
    """Only where entries lie apart is a piece as long as a row of the first axis."""
    tensor = of(1e-30 * torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(1)))
    sizes, norm = [], torch.linalg.vector_norm

    def counted(values, *order, **more):
        sizes.extend([] if order else [values.numel()])  # `Tensor.norm`, which gives the order, comes here too
        return norm(values, *order, **more)

    monkeypatch.setattr(task_vectors, "_PIECE", piece)
    monkeypatch.setattr(torch.linalg, "vector_norm", counted)
    wanted = np.linalg.norm(tensor.numpy().astype(np.float64))
    assert frobenius_norm(tensor) == pytest.approx(wanted, rel=1e-14, abs=0.0)
    assert max(sizes) <= max(piece, row)
    assert sum(sizes) == tensor.numel()


def test_relatedness_of_fine_tunes_and_strangers():
    base = gaussian(1, 4000, 1).flatten()
    close, stranger = base + gaussian(1, 4000, 2, 0.0005).flatten(), gaussian(1, 4000, 3).flatten()
    found = relatedness(base, close)
    assert found.cosine > 0.99
    assert found.change == pytest.approx(0.05, rel=0.1)
    assert abs(relatedness(base, stranger).cosine) < 0.1
    assert relatedness(base, stranger).change == pytest.approx(math.sqrt(2), rel=0.1)
    assert relatedness(base, base).change == 0.0
    assert relatedness(torch.zeros(3), torch.ones(3)).change == math.inf
    assert relatedness(torch.zeros(3), torch.zeros(3)) == Relatedness(1.0, 0.0)
    assert relatedness(torch.ones(4), torch.zeros(4)) == Relatedness(0.0, 1.0)
    assert relatedness(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])).cosine == pytest.approx(math.sqrt(0.5))
    with_nan = base.clone()
    with_nan[0] = float("nan")
    assert relatedness(with_nan, close).cosine > 0.99
