"""The analysis of a layer against the literal reference, on chosen spectra and on the demo family."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from analysis import layer
from analysis.basis import lapack_basis
from analysis.conflict import conflict_sums
from analysis.errors import NotFiniteError, OptionsError
from analysis.layer import LayerAnalysis, LayerOptions, analyse_layer, pruned_matrices
from analysis.merge.globa import PATTERNS, merged_delta, weighted_core
from analysis.pair import union_types
from analysis.product import Product
from analysis.subspaces import subspace_overlap
from tests.analysis.matrices import PAIRS, gaussian, relative, with_spectrum
from tests.reference import globa

MODELS = Path(__file__).parents[2] / "demo" / "models"
DEFAULTS = LayerOptions(svd_energy=(0.90, 0.99), eta=(0.95, 0.80))
EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}


def options(dtype: torch.dtype, basis: str = "canonical", **changes: object) -> LayerOptions:
    values = {"svd_energy": (0.90, 0.99), "eta": (0.95, 0.80), "dtype": dtype, "basis": basis, **changes}
    return LayerOptions(**values)


def analyse(taus: tuple[torch.Tensor, ...], chosen: LayerOptions) -> LayerAnalysis:
    base = torch.zeros_like(taus[0])
    return analyse_layer(base, list(taus), chosen)


def reference(taus: tuple[torch.Tensor, ...], dtype: torch.dtype, basis: str) -> globa.Reference:
    tolerance = 1e-8 if dtype == torch.float64 else 1e-4
    return globa.analyse(
        [tau.numpy() for tau in taus], kind=basis, tolerance=tolerance, eps=float(torch.finfo(dtype).eps)
    )


def rebuilt(result: LayerAnalysis, pattern: str) -> torch.Tensor:
    coefficients = {name: float(name == pattern) for name in PATTERNS}
    core = weighted_core(result.pruned, 0, coefficients)
    return result.left.vectors.double() @ core @ result.right.vectors.double().T


def demo_pair(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    weights = []
    for model in ("base", "math", "code"):
        with safe_open(MODELS / model / "model.safetensors", "pt") as file:
            weights.append(file.get_tensor(name).double())
    return weights[1] - weights[0], weights[2] - weights[0]


def pair(name: str, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Task vectors whose values `dtype` holds exactly, so that the reference sees what the analysis sees."""
    first, second = PAIRS[name]() if name in PAIRS else demo_pair(name)
    return first.to(dtype).double(), second.to(dtype).double()


LAYERS = [*PAIRS, "model.layers.1.mlp.up_proj.weight", "model.layers.2.self_attn.k_proj.weight"]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("basis", ["canonical", "anchored", "lapack"])
def test_truncation_bases_and_core_agree_with_the_reference(name, dtype, basis):
    taus = pair(name, dtype)
    wanted = reference(taus, dtype, basis)
    found = analyse(taus, options(dtype, basis))
    assert [svd.rank for svd in found.svds] == wanted.ranks
    assert (found.left.rank, found.right.rank) == (wanted.left.shape[1], wanted.right.shape[1])
    for svd, truncated in zip(found.svds, wanted.truncated, strict=True):
        rebuilt_tau = (svd.left.double() * svd.singular_values) @ svd.right.double().T
        assert relative(rebuilt_tau, torch.from_numpy(truncated)) <= EXACT[dtype]
    for side, basis_wanted in ((found.left, wanted.left), (found.right, wanted.right)):
        vectors = side.vectors.double()
        assert (vectors.T @ vectors - torch.eye(side.rank, dtype=torch.float64)).abs().max() <= EXACT[dtype]
        if basis != "lapack":  # LAPACK's basis is arbitrary in clusters, and so is the space that a cut leaves
            projector = torch.from_numpy(basis_wanted @ basis_wanted.T)
            assert relative(vectors @ vectors.T, projector) <= EXACT[dtype]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("basis", ["canonical", "anchored"])
def test_every_part_agrees_with_the_reference_in_float64(name, basis):
    taus = pair(name, torch.float64)
    wanted = reference(taus, torch.float64, basis)
    found = analyse(taus, options(torch.float64, basis))
    scale = float(np.linalg.norm(wanted.truncated[1]))
    counts = {part.pattern: part.count for part in found.parts.components}
    for pattern in PATTERNS:
        assert counts[pattern] == int(np.count_nonzero(wanted.parts[pattern])), pattern
        error = rebuilt(found, pattern) - torch.from_numpy(wanted.delta(pattern))
        assert float(error.norm()) <= 1e-10 * scale, pattern


@pytest.mark.parametrize("name", LAYERS)
def test_core_entries_agree_with_the_reference_in_float32(name):
    taus = pair(name)
    wanted = globa.analyse([tau.numpy() for tau in taus], eta=(1.0, 1.0))
    found = analyse(taus, options(torch.float32, eta=(1.0, 1.0)))
    for task in (0, 1):
        # Signs of basis vectors are free in the reference: compare magnitudes, then the matrix they rebuild.
        error = found.pruned[task].abs() - torch.from_numpy(np.abs(wanted.cores[task]))
        assert float(error.norm()) <= 1e-5 * float(np.linalg.norm(wanted.cores[task]))
        rebuilt_tau = found.left.vectors.double() @ found.pruned[task] @ found.right.vectors.double().T
        kept = wanted.left @ wanted.cores[task] @ wanted.right.T
        assert relative(rebuilt_tau, torch.from_numpy(kept)) <= 1e-5


@pytest.mark.parametrize("name", LAYERS)
def test_types_partition_the_entries_of_the_second_task(name):
    found = analyse(pair(name), DEFAULTS)
    entries = {part.pattern: part.count for part in found.parts.components}
    assert sum(entries[pattern] for pattern in PATTERNS[1:]) == int((found.pruned[1] != 0).sum())
    total = sum(rebuilt(found, pattern) for pattern in PATTERNS[1:])
    whole = found.left.vectors.double() @ found.pruned[1] @ found.right.vectors.double().T
    assert relative(total, whole) <= 1e-12


@pytest.mark.parametrize("basis", ["canonical", "anchored", "lapack"])
@pytest.mark.parametrize("shape", [(40, 64), (64, 40), (48, 48)])
def test_everything_kept_gives_back_the_sum_of_the_task_vectors(basis, shape):
    base = gaussian(*shape, seed=1, scale=0.02)
    weights = [base + gaussian(*shape, seed=seed) for seed in (2, 3)]
    full = options(torch.float64, basis, svd_energy=(1.0, 1.0), eta=(1.0, 1.0), basis_energy=1.0)
    found = analyse_layer(base, weights, full)
    core = weighted_core(found.pruned, 0, dict.fromkeys(PATTERNS, 1.0))
    merged = merged_delta(found.left.vectors, core, found.right.vectors)
    assert relative(merged, weights[0] + weights[1] - 2 * base) <= 1e-12


def test_merging_a_model_with_the_base_gives_that_model():
    base = gaussian(30, 40, 1)
    tuned = base + gaussian(30, 40, 2)
    full = options(torch.float64, svd_energy=(1.0, 1.0), eta=(1.0, 1.0))
    for weights, pattern in (([tuned, base], "C1"), ([base, tuned], "A")):
        found = analyse_layer(base, weights, full)
        assert relative(rebuilt(found, pattern), tuned - base) <= 1e-12


def test_the_anchored_type_a_is_the_orthogonal_component_of_the_appendix():
    taus = pair("decaying")
    found = analyse(taus, options(torch.float64, "anchored", eta=(1.0, 1.0)))
    one, two = found.svds
    outside_left = two.left - one.left @ (one.left.T @ two.left)
    outside_right = two.right - one.right @ (one.right.T @ two.right)
    orthogonal = (outside_left * two.singular_values) @ outside_right.T
    assert relative(rebuilt(found, "A"), orthogonal) <= 1e-10
    canonical = analyse(taus, options(torch.float64, eta=(1.0, 1.0)))
    assert not torch.allclose(rebuilt(canonical, "A"), orthogonal, atol=1e-3)


def test_the_anchor_chooses_whose_matrix_plays_the_first():
    taus = pair("low-rank")
    second = analyse(taus, LayerOptions((0.9, 0.99), (0.95, 0.8), anchor=1))
    swapped = analyse(taus[::-1], LayerOptions((0.99, 0.9), (0.8, 0.95), anchor=0))
    found = {part.pattern: part.energy for part in second.parts.components}
    wanted = {part.pattern: part.energy for part in swapped.parts.components}
    assert found == pytest.approx(wanted, rel=1e-5)


def test_three_tasks_have_parts_of_their_own():
    taus = (*pair("random"), gaussian(48, 80, 9))
    found = analyse(taus, LayerOptions((1.0,) * 3, (1.0,) * 3, basis_energy=1.0))
    assert [(part.task, part.pattern) for part in found.parts.components][:2] == [(0, "C1"), (1, "A")]
    assert len(found.parts.components) == 13
    assert found.unions == tuple(union_types(found.pruned, task) for task in range(3))
    assert analyse(taus[:2], DEFAULTS).unions == ()
    core = weighted_core(found.pruned, 0, dict.fromkeys(PATTERNS, 1.0))
    assert relative(merged_delta(found.left.vectors, core, found.right.vectors), sum(taus)) <= 1e-5


@pytest.mark.parametrize("basis", ["canonical", "anchored", "lapack"])
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (1, 9), (9, 1), (3, 2)])
def test_degenerate_shapes_are_analysed(shape, basis):
    base = torch.zeros(shape)
    weights = [base + 1.0, base - 2.0]
    found = analyse_layer(base, weights, options(torch.float32, basis))
    rank = 1 if base.numel() else 0
    assert [svd.rank for svd in found.svds] == [rank, rank]
    merged = merged_delta(
        found.left.vectors, weighted_core(found.pruned, 0, dict.fromkeys(PATTERNS, 1.0)), found.right.vectors
    )
    torch.testing.assert_close(merged, base - 1.0)


@pytest.mark.parametrize("basis", ["canonical", "anchored", "lapack"])
def test_a_task_that_equals_the_base_has_no_entries(basis):
    base = gaussian(20, 12, 1).float()
    tuned = base + gaussian(20, 12, 2).float()
    for weights, frozen in (([base, tuned], 0), ([tuned, base], 1), ([base, base], 0)):
        found = analyse_layer(base, weights, options(torch.float32, basis))
        assert found.svds[frozen].rank == 0
        assert int((found.pruned[frozen] != 0).sum()) == 0
        overlap = found.pairs[0].overlap
        assert (overlap.left, overlap.right) == (0.0, 0.0)


def test_nan_and_infinity_are_named_with_their_owner():
    base = gaussian(8, 8, 1).float()
    for broken in (float("nan"), float("inf")):
        bad = base.clone()
        bad[2, 3] = broken
        with pytest.raises(NotFiniteError, match="the fine-tuned tensor holds 1 NaN or infinite entries of 64"):
            analyse_layer(base, [base + 1, bad], DEFAULTS)
        with pytest.raises(NotFiniteError, match="the base holds 1"):
            analyse_layer(bad, [base, base], DEFAULTS)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e20, 1e30])
def test_scale_of_the_weights_does_not_matter(scale):
    taus = pair("decaying")
    plain = analyse(taus, options(torch.float32))
    scaled = analyse(tuple((tau * scale).float() for tau in taus), options(torch.float32))
    assert [svd.rank for svd in scaled.svds] == [svd.rank for svd in plain.svds]
    counts = [[part.count for part in found.parts.components] for found in (plain, scaled)]
    assert counts[0] == pytest.approx(counts[1], abs=8)


def test_options_are_checked_once():
    with pytest.raises(OptionsError, match="eta"):
        LayerOptions((0.9, 0.9), (0.9, 0.0))
    with pytest.raises(OptionsError, match="task counts"):
        LayerOptions((0.9, 0.9), (0.9, 0.9), anchor=2)
    with pytest.raises(OptionsError, match="1 fine-tunes"):
        analyse_layer(torch.zeros(2, 2), [torch.zeros(2, 2)], DEFAULTS)


def test_a_published_rank_can_be_read_off_a_chosen_spectrum():
    values = torch.tensor([3.0, 2.0, 1.0])  # energies 9, 4, 1 of 14: cumulative .643, .929, 1
    tau = with_spectrum(9, 7, values, 1)
    for energy, rank in ((0.5, 1), (0.65, 1), (0.93, 2), (0.99, 2), (1.0, 3)):
        found = analyse((tau, tau), options(torch.float64, svd_energy=(energy, energy)))
        assert found.svds[0].rank == rank


@pytest.mark.parametrize("basis", ["canonical", "anchored", "lapack"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_merge_without_a_run_takes_the_same_numbers(basis, dtype, monkeypatch):
    chosen = options(dtype, basis, svd_energy=(0.9, 0.99, 0.95), eta=(0.95, 0.8, 1.0), anchor=1)
    base = gaussian(48, 80, 9).to(dtype)
    models = [base + gaussian(48, 80, 1).to(dtype), None, Product(gaussian(48, 3, 2), gaussian(3, 80, 3))]
    whole = analyse_layer(base, models, chosen)
    side, left = layer._side, []
    monkeypatch.setattr(layer, "_side", lambda *values: left.append(len(models)) or side(*values))
    found = pruned_matrices(base, models, chosen)
    # The weights are gone before the bases are made.
    assert left == [0, 0]
    assert torch.equal(found.left, whole.left.vectors)
    assert torch.equal(found.right, whole.right.vectors)
    assert all(torch.equal(one, other) for one, other in zip(found.cores, whole.pruned, strict=True))
    models = [base * float("nan"), None, None]
    with pytest.raises(NotFiniteError, match="fine-tune 1"):
        pruned_matrices(base, models, chosen)
    assert len(models) == 3


def test_what_takes_the_entries_of_the_weights_is_of_the_right_pairs_and_sums():
    """One of three fine-tunes is given by factors, one is the base, and all ordered pairs are compared."""
    base = gaussian(9, 7, 10)
    tau, left, right = 0.1 * gaussian(9, 7, 11), gaussian(9, 2, 12), gaussian(2, 7, 13)
    chosen = LayerOptions((1.0,) * 3, (1.0,) * 3, anchor=1, pairs="all", what_if=(0.5,), dtype=torch.float64)
    found = analyse_layer(base, [base + tau, Product(left, right), None], chosen)
    assert [(pair.anchor, pair.task) for pair in found.pairs] == [(1, 0), (1, 2), (0, 1), (0, 2), (2, 0), (2, 1)]
    weights = [base + tau, base + left @ right, base]
    for pair in found.pairs:
        wanted = conflict_sums(base, weights[pair.anchor], weights[pair.task])
        assert pair.conflict.product == pytest.approx(wanted.product, abs=1e-12)
        assert pair.conflict.squares == pytest.approx(wanted.squares, abs=1e-12)
        # Of factors and an unchanged weight entries are not formed.
        counted = 0 in (pair.anchor, pair.task)
        assert pair.conflict.difference == pytest.approx(wanted.difference if counted else 0.0)
    np.testing.assert_allclose(found.merged.values, singular_values(tau + left @ right), rtol=1e-9)
    norms = [float(tau.norm()), float((left @ right).norm()), 0.0]
    assert found.task_norms == pytest.approx(norms)
    assert found.base_norm == pytest.approx(float(base.norm()))
    assert found.grids == ((0.5, 1.0),) * 3
    assert found.shape == (9, 7)
    assert (found.left.coordinates, found.right.coordinates) == ((), ())
    only = analyse_layer(base, [base + tau, base + 2 * tau, None], dataclasses.replace(chosen, pairs="anchor"))
    assert [(pair.anchor, pair.task) for pair in only.pairs] == [(1, 0), (1, 2)]
    np.testing.assert_allclose(only.merged.values, 3 * singular_values(tau), rtol=1e-9)
    factors = [Product(left, right), Product(left, 3 * right), Product(left, 0.5 * right)]
    products = analyse_layer(base, factors, chosen).merged
    np.testing.assert_allclose(products.values[:2], 4.5 * singular_values(left @ right)[:2], rtol=1e-9)


@pytest.mark.parametrize("anchor", [0, 1])
def test_the_spaces_of_two_tasks_are_those_of_their_own_triplets(anchor):
    found = analyse(pair("decaying"), options(torch.float64, anchor=anchor, svd_energy=(0.7, 0.95)))
    one, two = found.svds[anchor], found.svds[1 - anchor]
    overlap = found.pairs[0].overlap
    for side in ("left", "right"):
        cosines = np.linalg.svd(getattr(one, side).numpy().T @ getattr(two, side).numpy(), compute_uv=False)
        assert getattr(overlap, side) == pytest.approx((cosines**2).mean(), rel=1e-9)
        np.testing.assert_allclose(np.cos(getattr(overlap, f"{side}_angles").numpy()), cosines, atol=1e-9)
    alone = subspace_overlap(one, two)
    assert dataclasses.astuple(overlap)[2:] == pytest.approx(dataclasses.astuple(alone)[2:], rel=1e-9)


def test_the_published_basis_is_taken_where_it_is_asked_for():
    found = analyse(pair("decaying"), options(torch.float64, "lapack"))
    values = [svd.singular_values for svd in found.svds]
    for side in ("left", "right"):
        wanted = lapack_basis([getattr(svd, side) for svd in found.svds], values, DEFAULTS.basis_energy)
        assert torch.equal(getattr(found, side).vectors, wanted.vectors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_task_vectors_and_their_sum_are_in_the_working_precision_whatever_the_weights_are_in(dtype):
    base = gaussian(9, 7, 10).bfloat16()
    tuned, factors = (base + gaussian(9, 7, 11).bfloat16()), Product(gaussian(9, 2, 12), gaussian(2, 7, 13))
    found = analyse_layer(base, [None, factors, tuned], LayerOptions((1.0,) * 3, (1.0,) * 3, dtype=dtype))
    assert {(svd.left.dtype, svd.right.dtype) for svd in found.svds} == {(dtype, dtype)}
    total = tuned.double() - base.double() + factors.dense(torch.float64)
    np.testing.assert_allclose(found.merged.values, singular_values(total), rtol=EXACT[dtype])
    assert found.base_norm == pytest.approx(float(base.double().norm()), rel=1e-12)


def singular_values(matrix: torch.Tensor) -> np.ndarray:
    return np.linalg.svd(matrix.numpy(), compute_uv=False)


@pytest.mark.parametrize("name", ["svd_energy", "eta", "basis_energy", "what_if"])
@pytest.mark.parametrize("share", [0.0, 1.5])
def test_an_option_out_of_range_is_named(name, share):
    values = {"svd_energy": (0.9, 0.9), "eta": (0.9, 0.9)}
    values[name] = share if name == "basis_energy" else (share, 0.9)
    with pytest.raises(OptionsError, match=f"^{name} is .*{share}"):
        LayerOptions(**values)
