"""TSV-M, Iso-C, Iso-CTS and the AlignMerges against literal NumPy readings, and what low rank does to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from analysis.errors import DecompositionError, NotFiniteError, OptionsError
from analysis.merge import TensorContext, merge_method
from analysis.merge.alignmerge_b import default_alpha, full_coefficients
from analysis.merge.triplets import leading_triplets, orthogonalised
from tests.analysis.matrices import decaying, gaussian, orthonormal, relative, with_spectrum
from tests.reference import alignmerge, spectral

SHAPES = [(24, 17), (16, 40), (13, 13), (5, 3)]
REFERENCES: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "tsv_m": spectral.tsv_m,
    "iso_c": spectral.iso_c,
    "iso_cts": spectral.iso_cts,
    "alignmerge_o": alignmerge.orthogonalised,
}
O_AS_PUBLISHED = ("alignmerge_o", "paper")
SPECTRAL = [*REFERENCES, "alignmerge_b"]


def taus(shape: tuple[int, int], tasks: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> list[torch.Tensor]:
    """Full-rank differences of weights as they lie on disk, with a part that the tasks share."""
    base, shared = gaussian(*shape, seed, 0.05), gaussian(*shape, seed + 1, 0.01)
    tuned = [base + shared + gaussian(*shape, seed + 10 + n, 0.01) for n in range(tasks)]
    return [one.to(dtype).float() - base.to(dtype).float() for one in tuned]


def low_rank(shape: tuple[int, int], ranks: list[int], seed: int = 3) -> list[torch.Tensor]:
    """What LoRA adapters of these ranks add, in float64."""
    return [with_spectrum(*shape, decaying(rank, 0.3), seed + 7 * n) for n, rank in enumerate(ranks)]


def merge(name: str, vectors: list[torch.Tensor], role: Any = "matrix", **params: Any) -> torch.Tensor:
    return merge_method(name).merge(vectors, params, TensorContext("t", role, torch.zeros_like(vectors[0])))


def arrays(vectors: list[torch.Tensor]) -> list[np.ndarray]:
    return [one.double().numpy() for one in vectors]


# AlignMerge-O as published has no unique answer: see below.
@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, variant) for name in REFERENCES for variant in ("robust", "paper") if (name, variant) != O_AS_PUBLISHED],
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("tasks", "dtype"), [(2, torch.bfloat16), (3, torch.float32), (2, torch.float32)])
def test_full_rank_is_the_papers(name, shape, tasks, dtype, variant):
    vectors = taus(shape, tasks, dtype)
    if min(shape) - (name == "alignmerge_o") < tasks and not name.startswith("iso"):
        wanted = torch.stack(vectors).double().mean(0)
    else:
        wanted = torch.from_numpy(REFERENCES[name](arrays(vectors)))
    assert relative(merge(name, vectors, variant=variant), wanted) < 2e-5
    assert relative(merge(name, [one.double() for one in vectors], variant=variant), wanted) < 1e-9
    assert relative(merge(name, vectors, variant=variant, scale=0.4), 0.4 * wanted) < 2e-5
    vectors[-1] = vectors[-1] + 0.02 * torch.eye(*shape)
    assert relative(merge(name, vectors, variant=variant), wanted) > 1e-3, "the comparison can fail"


def test_alignmerge_o_as_published_has_no_unique_answer():
    """The K + 1 leading columns lie in a space of K dimensions, so that P Qᵀ holds an arbitrary direction."""
    vectors = [one.double() for one in taus((24, 17), 2)]
    moved = [one * (1 + 1e-12 * gaussian(24, 17, 50 + n, 1.0)) for n, one in enumerate(vectors)]
    assert relative(merge("alignmerge_o", moved), merge("alignmerge_o", vectors)) < 1e-9
    turned = [one[torch.randperm(24, generator=torch.Generator().manual_seed(1))] for one in vectors]
    order = torch.argsort(torch.randperm(24, generator=torch.Generator().manual_seed(1)))
    assert relative(merge("alignmerge_o", turned)[order], merge("alignmerge_o", vectors)) < 1e-9
    published = merge("alignmerge_o", turned, variant="paper")[order]
    assert relative(published, merge("alignmerge_o", vectors, variant="paper")) > 0.02


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_iso_cts_shares_what_it_is_told(fraction):
    vectors = taus((24, 18), 3)
    wanted = torch.from_numpy(spectral.iso_cts(arrays(vectors), fraction))
    assert relative(merge("iso-cts", vectors, common_space_fraction=fraction), wanted) < 2e-5
    if fraction == 1.0:
        assert relative(merge("iso-c", vectors), wanted) < 2e-5


def test_iso_cts_never_gives_the_tasks_more_directions_than_there_are():
    """Of 17 directions three tasks would get 6 each, by rounding; with a fraction of 0.1 they get 5 each."""
    vectors = taus((24, 17), 3)
    wanted = torch.from_numpy(spectral.iso_cts(arrays(vectors), 0.1))
    assert relative(merge("iso-cts", vectors, common_space_fraction=0.0), wanted) < 2e-5


@pytest.mark.parametrize("ratio", ["damped", "exact"])
@pytest.mark.parametrize("tasks", [2, 3])
@pytest.mark.parametrize("task", [0, 1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5, 1e9])
def test_alignmerge_b_is_equation_9(ratio, tasks, task, alpha):
    vectors = taus((20, 14), tasks)
    wanted = alignmerge.balanced(sum(arrays(vectors)), arrays(vectors), alpha, task, ratio)
    found = merge("alignmerge-b", vectors, alpha=alpha, task=task, ratio=ratio)
    assert relative(found, torch.from_numpy(wanted)) < 5e-5


@pytest.mark.parametrize("base", ["linear", "ties", "dare_linear", "dare_ties", "tsv-m", "iso_c", "iso_cts", "slerp"])
def test_alignmerge_b_follows_any_method(base):
    vectors = taus((20, 14), 2)
    params = {"trim": "tensor"} if "ties" in base else {}
    before = merge(base, vectors, **params)
    wanted = alignmerge.balanced(before.double().numpy(), arrays(vectors), default_alpha(2), 0, "damped")
    found = merge("alignmerge_b", vectors, base_method=base, **params)
    assert relative(found, torch.from_numpy(wanted)) < 1e-4
    assert relative(found, before) > 1e-3, "it does something"
    vector = [one[0] for one in vectors]
    assert torch.equal(
        merge("alignmerge_b", vector, "vector", base_method=base, **params), merge(base, vector, "vector", **params)
    )


def test_full_coefficients_are_those_of_the_proposition():
    vectors = taus((12, 9), 3)
    merged = sum(vectors)
    left, values, right = torch.linalg.svd(merged.double(), full_matrices=False)
    for ratio in ("damped", "exact"):
        found = full_coefficients([one.double() for one in vectors], left, right.mT.contiguous(), ratio)
        wanted = alignmerge.full_coefficients(arrays(vectors), merged.double().numpy(), ratio)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)  # η is 1 for a sum


def test_exact_balance_of_one_task_leaves_its_own_diagonal():
    """σ/ξ̃ of the exact ratio is u_rᵀ τ_i v_r, the optimum of proposition 2, wherever that is positive."""
    vectors = [one.double() for one in taus((15, 11), 2)]
    left, values, right = torch.linalg.svd(sum(vectors), full_matrices=False)
    own = torch.einsum("mr,mn,rn->r", left, vectors[0], right).clamp(min=0)
    found = merge("alignmerge_b", vectors, alpha=0.0, task=1, ratio="exact")
    assert relative(found, (left * own) @ right) < 1e-9


def test_the_published_thresholds():
    assert [default_alpha(tasks) for tasks in (2, 8, 14, 20)] == [0.6, 1.8, 2.8, 6.5]
    assert (default_alpha(1), default_alpha(4)) == (0.25, 1.0)


@pytest.mark.parametrize("name", REFERENCES)
def test_low_rank_without_the_cut_is_noise_and_with_it_is_not(name):
    """Two LoRA-like deltas: float32 and float64 disagree wholly as the papers read, and agree with the cut."""
    exact = low_rank((64, 48), [4, 4])
    rounded = [one.float() for one in exact]
    noisy = relative(merge(name, rounded, variant="paper"), merge(name, exact, variant="paper"))
    cured = relative(merge(name, rounded), merge(name, exact))
    assert cured < 1e-4
    assert noisy > 0.3, noisy
    found = merge(name, exact)
    left = torch.linalg.svd(torch.cat(exact, 1), full_matrices=False)[0][:, :8]
    outside = found - left @ (left.mT @ found)
    assert float(outside.norm() / found.norm()) < 1e-6, "nothing outside the tasks' own directions"
    noise = merge(name, exact, variant="paper")
    outside = noise - left @ (left.mT @ noise)
    if name.startswith("iso"):
        assert float(outside.norm() / noise.norm()) > 0.8


def test_bfloat16_checkpoints_of_adapters_are_stable_too():
    """Rounding to bfloat16 gives every delta full rank; the answer then is that of the rounded weights."""
    base = gaussian(48, 40, 1, 0.05)
    vectors = [(base + one).bfloat16().double() - base.bfloat16().double() for one in low_rank((48, 40), [3, 3])]
    for name in REFERENCES:
        assert relative(merge(name, [one.float() for one in vectors]), merge(name, vectors)) < 2e-4


def test_what_one_model_gives():
    """TSV-M keeps all of one model; AlignMerge-O all but its last triplet, at the whole norm; Iso flattens it."""
    one = taus((18, 12), 1)
    assert relative(merge("tsv_m", one), one[0]) < 1e-5
    assert relative(merge("alignmerge_b", one, alpha=0.0), one[0]) < 1e-5
    left, values, right = torch.linalg.svd(one[0].double(), full_matrices=False)
    assert relative(merge("iso_c", one), values.mean() * left @ right) < 1e-5
    values[-1] = 0.0
    kept = (left * values) @ right
    assert relative(merge("alignmerge_o", one), kept) < 1e-5


@pytest.mark.parametrize("name", SPECTRAL)
def test_the_order_of_models_does_not_matter(name):
    vectors = taus((22, 15), 3)
    one = merge(name, vectors, weight=(1.0, 0.5, 2.0))
    two = merge(name, [vectors[n] for n in (2, 0, 1)], weight=(2.0, 1.0, 0.5))
    assert relative(two, one) < 1e-4
    assert relative(merge(name, vectors, weight=(0.5, 1.0, 2.0)), one) > 1e-2


@pytest.mark.parametrize("name", ["tsv_m", "iso_c", "alignmerge_o", "alignmerge_b"])
def test_transposed_task_vectors_give_the_transposed_merge(name):
    """Not so for Iso-CTS, which projects one side only."""
    vectors = taus((22, 15), 2)
    ratio = {"ratio": "exact"} if name == "alignmerge_b" else {}
    flipped = merge(name, [one.mT.contiguous() for one in vectors], **ratio)
    assert relative(flipped.mT, merge(name, vectors, **ratio)) < 1e-4


@pytest.mark.parametrize("name", [*REFERENCES])
@pytest.mark.parametrize("role", ["vector", "other", "embedding"])
def test_what_is_no_matrix_gets_the_mean(name, role):
    vectors = taus((12, 8), 2)
    assert relative(merge(name, vectors, role, scale=0.5), (vectors[0] + vectors[1]) / 4) < 1e-6
    cube = [one.reshape(4, 3, 8) for one in vectors]
    assert relative(merge(name, cube), (cube[0] + cube[1]) / 2) < 1e-6
    if role == "embedding":
        assert torch.equal(merge(name, vectors, role, embeddings="svd"), merge(name, vectors))


def test_alignmerge_b_leaves_embeddings_unless_told():
    vectors = taus((12, 8), 2)
    assert torch.equal(merge("alignmerge_b", vectors, "embedding"), merge("task_arithmetic", vectors, "embedding"))
    aligned = merge("alignmerge_b", vectors, "embedding", align_embeddings=True)
    assert torch.equal(aligned, merge("alignmerge_b", vectors))


@pytest.mark.parametrize("name", SPECTRAL)
@pytest.mark.parametrize("shape", [(6, 4), (1, 5), (5, 1), (1, 1), (2, 2), (0, 4)])
def test_frozen_and_tiny_tensors(name, shape):
    zero = torch.zeros(shape)
    assert torch.equal(merge(name, [zero, zero]), zero)
    if zero.numel():
        one = merge(name, [zero, torch.ones(shape)])
        assert torch.isfinite(one).all()
        assert one.any()


@pytest.mark.parametrize("name", SPECTRAL)
def test_twins_are_merged_without_arbitrary_directions(name):
    """Two equal models: the whitened stack is singular, and float32 and float64 still agree."""
    twin = taus((20, 12), 1)[0]
    found = merge(name, [twin, twin.clone()])
    assert relative(found, merge(name, [twin.double(), twin.double()])) < 1e-4


@pytest.mark.parametrize("name", SPECTRAL)
def test_nan_is_refused_by_every_decomposition(name):
    vectors = taus((8, 6), 2)
    vectors[1][2, 3] = float("nan")
    with pytest.raises(NotFiniteError):
        merge(name, vectors)


def test_the_polar_factor_has_orthonormal_columns():
    stack = torch.cat([orthonormal(30, 6, 1), orthonormal(30, 6, 2)], 1)
    for tolerance in (None, 1e-5):
        found = orthogonalised(stack, tolerance)
        assert relative(found.mT @ found, torch.eye(12)) < 1e-12
        assert relative(found, torch.from_numpy(spectral.polar(stack.numpy()))) < 1e-12
    twins = torch.cat([orthonormal(30, 6, 1)] * 2, 1)
    assert relative(orthogonalised(twins, 1e-5), twins / 2**0.5) < 1e-12


def test_an_svd_that_does_not_converge_says_so(monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise torch.linalg.LinAlgError

    monkeypatch.setattr(torch.linalg, "svd", fails)
    with pytest.raises(DecompositionError, match=r"SVD of a 4×3 matrix did not converge"):
        leading_triplets(torch.ones(4, 3), 2, None)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"base_method": "sum"}, r"base_method is 'sum': it must be linear or task_arithmetic or ties"),
        ({"base_method": "globa"}, r"base_method is 'globa': it must be linear or task_arithmetic or ties"),
        ({"densty": 1}, r"alignmerge_b on task_arithmetic has no parameter 'densty'; it knows align_embeddings, alpha"),
        ({"density": 0.5}, r"alignmerge_b on task_arithmetic has no parameter 'density'"),
        ({"base_method": "ties", "variant": "x"}, r"ties has no variant 'x'; it knows paper, mergekit, peft"),
        ({"task": 3}, r"task is 3: there are 2 fine-tunes; 0 means all"),
        ({"task": 1, "weight": (0.0, 1.0)}, r"task is 1, whose weight is 0"),
        ({"alpha": "some"}, r"alpha is 'some': it must be auto or a number from 0"),
        ({"ratio": 2}, r"ratio is 2: it must be damped or exact"),
    ],
)
def test_alignmerge_b_names_what_it_does_not_know(params, named):
    with pytest.raises(OptionsError, match=named):
        merge("alignmerge_b", taus((8, 6), 2), **params)
