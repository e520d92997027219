"""What a merge method says of itself is what it does: which tensors it takes apart, and what it looks at first."""

import re
import sys
from typing import get_args

import numpy as np
import pytest
import torch

from analysis.errors import OptionsError
from analysis.merge import METHODS, merge_method
from analysis.merge.context import Role, TensorContext
from analysis.merge.triplets import leading_triplets, orthogonalised, weighted
from tests.analysis.matrices import gaussian, orthonormal, relative, with_spectrum

DECOMPOSING = ("tsv_m", "iso_c", "iso_cts", "alignmerge_o")
ROLES = get_args(Role)
TAUS = [gaussian(6, 5, seed) for seed in (1, 2)]


@pytest.mark.parametrize("embeddings", ["average", "svd"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", DECOMPOSING)
def test_what_is_not_decomposed_is_the_mean_and_goes_entry_by_entry(name, role, embeddings):
    method = merge_method(name)
    complete = method.complete({"embeddings": embeddings, "scale": 0.5, "weight": (1.0, 3.0)}, 2)
    apart = role == "matrix" or (role == "embedding" and embeddings == "svd")
    mean = 0.25 * (TAUS[0] + 3 * TAUS[1])
    assert method.by_entry(role, complete) == (not apart)
    assert (relative(method.run(TAUS, TensorContext(role=role), complete), mean) > 1e-6) == apart
    stacked = [torch.stack([tau, tau]) for tau in TAUS]
    assert relative(method.run(stacked, TensorContext(role=role), complete), torch.stack([mean, mean])) <= 1e-12
    empty = method.run([tau[:0] for tau in TAUS], TensorContext(role=role), complete)
    assert empty.shape == (0, 5)


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("base", ["task_arithmetic", "iso_c"])
def test_what_is_not_balanced_is_the_base_methods(base, role, align):
    method, below = merge_method("alignmerge_b"), merge_method(base)
    complete = method.complete({"base_method": base, "align_embeddings": align}, 2)
    own, context = below.complete({}, 2), TensorContext(role=role)
    balanced = role == "matrix" or (role == "embedding" and align)
    assert method.by_entry(role, complete) == (not balanced and below.by_entry(role, own))
    merged, plain = (one.run(TAUS, context, values) for one, values in ((method, complete), (below, own)))
    assert (relative(merged, plain) > 1e-6) == balanced
    flat = [tau.flatten() for tau in TAUS]
    assert torch.equal(method.run(flat, context, complete), below.run(flat, context, own))


@pytest.mark.parametrize("base", [name for name in METHODS if name not in ("alignmerge_b", "slerp")])
def test_a_method_on_top_looks_first_at_what_its_base_looks_at(base):
    method, below = merge_method("alignmerge_b"), merge_method(base)
    complete, own = method.complete({"base_method": base}, 2), below.complete({}, 2)
    assert complete["base_method"] == base
    for found, wanted in (
        (method.passes([complete] * 3, 2), below.passes([own] * 3, 2)),
        (method.tensor_passes(complete, 2, torch.float64), below.tensor_passes(own, 2, torch.float64)),
    ):
        assert type(found) is type(wanted)
        if found is not None:
            assert told(found) == told(wanted)


def told(found: object) -> str:
    """What an object holds, without the places in memory of what that holds."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(vars(found)))


def test_a_method_on_top_knows_what_its_base_knows():
    method = merge_method("alignmerge_b")
    assert set(method.known({"base_method": "ties"})) >= {"density", "trim", "alpha", "task", "base_method"}
    assert "density" not in method.known({})
    assert method.known({"base_method": "iso_c"})["embeddings"].default == "average"
    assert method.complete({"base_method": "iso_c"})["rank_cut"] is True
    assert method.complete({"base_method": "iso_c", "variant": "paper"})["rank_cut"] is False
    with pytest.raises(OptionsError, match="weight has 3 values for 2"):
        method.complete({"weight": (1.0, 2.0, 3.0)}, 2)


@pytest.mark.parametrize("name", ["alignmerge_b", "alignmerge_o", "iso_cts"])
def test_directions_are_looked_at_in_parts(name, monkeypatch):
    whole = merge_method(name).merge(TAUS, {})
    for module in ("alignmerge_b", "triplets"):
        monkeypatch.setattr(sys.modules[f"analysis.merge.{module}"], "DIRECTIONS", 2)
    assert relative(merge_method(name).merge(TAUS, {}), whole) <= 1e-12


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_equal_and_opposite_tasks_have_a_result(sign):
    """Axes that are equal to the last bit leave no residual, and what cancels has no size."""
    tau = torch.diag(torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], dtype=torch.float64))
    found = merge_method("alignmerge_o").merge([tau, sign * tau], {})
    assert bool(found.isfinite().all())
    assert (float(found.norm()) > 1.0) == (sign > 0)


def test_a_direction_in_which_tasks_undo_each_other_is_dropped():
    """In the first direction ξ̃ is the mean of 1 − 1/4 and 1 − 4, in the second both push alike and ξ̃ is 2."""
    one, two = (torch.diag(torch.tensor(values, dtype=torch.float64)) for values in ((2.0, 1.0), (-0.5, 1.0)))
    found = merge_method("alignmerge_b").merge([one, two], {})
    assert found.numpy() == pytest.approx(np.diag([0.0, 1.0]), abs=1e-12)


def test_two_bases_in_one_merge_may_not_look_at_the_whole_model():
    method = merge_method("alignmerge_b")
    linear, iso, ties = (method.complete({"base_method": name}, 2) for name in ("linear", "iso_c", "ties"))
    assert method.passes([linear, iso], 2) is None
    with pytest.raises(OptionsError, match="base_method is linear, ties in one merge"):
        method.passes([linear, ties], 2)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_noise_is_a_share_of_the_largest_value(scale):
    matrix = scale * with_spectrum(12, 9, torch.tensor([4.0, 2.0, 1e-3], dtype=torch.float64), 1)
    assert [leading_triplets(matrix, 5, tolerance).rank for tolerance in (1e-2, 1e-4, 0.0)] == [2, 3, 3]
    assert [leading_triplets(matrix, count, 0.0).values.shape[0] for count in (1, 3)] == [1, 3]
    assert leading_triplets(matrix, 5, 0.1, scale=30 * scale).rank == 1


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shape", [(12, 6), (6, 12), (7, 7)])
def test_the_nearest_orthonormal_columns_leave_noise_out(shape, scale):
    """Of values 4, 2, 1 and 0.028 the last is below a tolerance of 1e-2, and a direction like the others for 1e-5."""
    left, right = orthonormal(shape[0], 4, 1), orthonormal(shape[1], 4, 2)
    columns = scale * (left * torch.tensor([4.0, 2.0, 1.0, 0.028])) @ right.T
    assert relative(orthogonalised(columns, 1e-2), left[:, :3] @ right[:, :3].T) <= 1e-10
    assert relative(orthogonalised(columns, 1e-5), left @ right.T) <= 1e-6
    assert torch.equal(orthogonalised(columns[:, :0], 1e-2), columns[:, :0])
    one = orthogonalised(columns[:, :1], 1e-2)
    assert relative(one, columns[:, :1] / columns[:, :1].norm()) <= 1e-12


def test_weights_multiply_and_0_leaves_out():
    found = weighted(TAUS, (0.5, 0.0))
    assert len(found) == 1
    assert torch.equal(found[0], 0.5 * TAUS[0])
    assert weighted(TAUS, (1.0, 2.0))[0] is TAUS[0], "no copy where none is needed"
