"""Values that parameters of merge methods may have, the words for them, and tensors that are taken in parts."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import pytest
import torch

from analysis.errors import OptionsError
from analysis.merge import TensorContext, context, merge_method
from analysis.merge.context import in_parts
from analysis.merge.dare_linear import dare_linear
from analysis.merge.drop import NormRatios, keep_mask
from analysis.merge.parameter import Parameter
from analysis.merge.selection import Selected, Selection
from analysis.merge.task_arithmetic import task_arithmetic


@pytest.mark.parametrize(
    ("limits", "allowed", "inside", "outside"),
    [
        ({}, "a number", [-1e300, 0, 5], [True, "1", float("nan"), float("inf")]),
        ({"low": 1.0}, "a number from 1", [1, 1e300], [0.999]),
        ({"low": 1.0, "open_low": True}, "a number above 1", [1.001], [1, 0.5]),
        ({"low": 0.0, "high": 2.0}, "a number in [0, 2]", [0, 2], [-1e-9, 2.001]),
        ({"low": 0.0, "high": 2.0, "open_low": True}, "a number in (0, 2]", [1e-9, 2], [0, -1, 2.001]),
    ],
)
def test_the_range_of_a_number_is_kept_and_told(limits, allowed, inside, outside):
    parameter = Parameter("x", "number", 1.0, "", **limits)
    assert parameter.allowed == allowed
    assert [parameter.read(value) for value in inside] == inside
    for value in (*outside, math.nan, math.inf, 10**400, -(10**400)):
        with pytest.raises(OptionsError, match="x is"):
            parameter.read(value)


def test_a_flag_is_true_or_false_and_nothing_else():
    flag = Parameter("on", "flag", True, "")
    assert (flag.read(True), flag.read(False)) == (True, False)
    for value in (0, 1, "true", None):
        with pytest.raises(OptionsError, match="true or false"):
            flag.read(value)


@pytest.mark.parametrize("entries", [0, 1, 4, 9])
def test_parts_cover_a_tensor_once_and_know_where_they_are(entries, monkeypatch):
    monkeypatch.setattr(context, "BLOCK", 4)
    vectors = [torch.arange(float(entries)) + 100 * task for task in (1, 2)]
    given = TensorContext("w", base=torch.arange(float(entries)), first=1000)
    parts = list(in_parts(vectors, given))
    assert [part.first for _, part in parts] == [1000 + start for start in range(0, max(1, entries), 4)]
    for task in (0, 1):
        assert torch.cat([part[task] for part, _ in parts]).tolist() == vectors[task].tolist()
    assert torch.cat([part.base for _, part in parts]).tolist() == list(range(entries))
    assert all(part.base is None for _, part in in_parts(vectors, TensorContext("w")))


@pytest.mark.parametrize(
    ("weights", "divisor"),
    [((0.25, 0.25), 0.5), ((0.5e-8, 0.5e-8), 1e-8), ((0.4e-8, 0.4e-8), 1.0), ((1.0, -1.0), 1.0)],
)
def test_a_sum_of_weights_divides_from_1e_8_on(weights, divisor):
    taus = [torch.ones(3, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)]
    found = task_arithmetic(taus, weight=weights, normalize=True)
    torch.testing.assert_close(found, (weights[0] * taus[0] + weights[1] * taus[1]) / divisor, rtol=1e-12, atol=0)


def test_weights_without_a_base_cannot_sum_to_something_else_than_1():
    taus = [torch.ones(3), torch.ones(3)]
    linear = merge_method("linear")
    given = linear.complete({"weight": (0.5, 1.0), "normalize": False}, 2)
    for place in (None, TensorContext("w")):
        with pytest.raises(OptionsError, match="base"):
            linear.function(taus, place, **given)
    assert linear.function(taus, TensorContext("w", base=torch.ones(3)), **given).tolist() == [2.0] * 3


def test_an_order_statistic_of_nothing_is_zero():
    selection = Selection([0.2, 0.5], lambda entries, share: 1, torch.float32)
    selection.see(torch.zeros(0))
    selection.end_pass()
    assert selection.done
    assert selection.found == {0.2: Selected(0.0, 0, 0), 0.5: Selected(0.0, 0, 0)}


def test_a_mask_of_a_part_is_that_part_of_the_mask():
    whole = keep_mask(torch.Size([context.BLOCK + 50]), 0.3, 5, "w", 1)
    assert torch.equal(keep_mask(torch.Size([50]), 0.3, 5, "w", 1, context.BLOCK), whole[context.BLOCK :])
    assert not torch.equal(keep_mask(torch.Size([50]), 0.3, 5, "w", 1), whole[context.BLOCK :])
    assert keep_mask(torch.Size([4]), 0.3, 5, "\ud800", 1).shape == (4,)


def test_a_mask_is_drawn_from_the_seed_that_is_documented():
    """The same in every version, or recipes would not make the same bytes again."""
    number = int.from_bytes(hashlib.sha256(b"5\x001\x000\0w").digest()[:8], "big") // 2
    drawn = torch.rand(60, generator=torch.Generator().manual_seed(number), dtype=torch.float32)
    assert torch.equal(keep_mask(torch.Size([60]), 0.3, 5, "w", 1), drawn < 0.3)


def test_dare_ties_draws_the_masks_of_a_part_where_it_is():
    generator = torch.Generator().manual_seed(0)
    taus = [torch.randn(context.BLOCK + 60, generator=generator) for _ in range(2)]
    given = {"density": 0.5, "trim_density": 0.5, "trim": "tensor", "seed": 3}
    whole = merge_method("dare_ties").merge(taus, given, TensorContext("w"))
    method = merge_method("dare_ties")
    complete = method.complete(given, 2)
    passes = method.tensor_passes(complete, 2, torch.float32)
    parts = list(in_parts(taus, TensorContext("w")))
    while not passes.done:
        for part, place in parts:
            passes.see(part, place)
        passes.end_pass()
    merged = [method.run(part, replace(place, found=passes), complete) for part, place in parts]
    assert len(merged) == 2
    assert torch.equal(torch.cat(merged), whole)


def test_dare_ties_trims_what_the_drop_left_at_the_norm_it_had():
    taus = [torch.arange(1.0, 61.0), torch.arange(60.0, 0.0, -1.0) * 1.7]
    given = {"density": 0.5, "rescale": "norm", "trim": "tensor", "trim_density": 0.2, "seed": 1}
    found = merge_method("dare_ties").merge(taus, given, TensorContext("w"))
    kept = []
    for task, tau in enumerate(taus):
        dropped = keep_mask(tau.shape, 0.5, 1, "w", task) * tau
        dropped *= tau.abs().sum() / dropped.abs().sum()
        kept.append(torch.where(dropped >= dropped.sort().values[-12], dropped, 0.0))  # 12 are a fifth of 60
    count = sum((one != 0.0).float() for one in kept).clamp(min=1.0)
    torch.testing.assert_close(found, (kept[0] + kept[1]) / count)


def test_a_ratio_of_norms_is_1_where_the_drop_leaves_nothing():
    ratios = NormRatios([1e-9], 0)
    ratios.see([torch.ones(3)], TensorContext("w"))
    assert ratios.ratio(0) == 1.0


@pytest.mark.parametrize(
    ("weights", "divisor"), [((0.3, 0.5), 0.8), ((0.5e-8, 0.5e-8), 1e-8), ((0.4e-8, 0.4e-8), 1.0), ((2.0, -2.0), 1.0)]
)
def test_dropped_task_vectors_are_divided_by_the_weights(weights, divisor):
    taus = [torch.ones(40, dtype=torch.float64), torch.full((40,), 2.0, dtype=torch.float64)]
    place = TensorContext("w")
    found = dare_linear(taus, place, weight=weights, density=0.5, normalize=True, scale=3.0)
    kept = [keep_mask(taus[0].shape, 0.5, 0, "w", task) * tau / 0.5 for task, tau in enumerate(taus)]
    wanted = 3.0 * (weights[0] * kept[0] + weights[1] * kept[1]) / divisor
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-20)


def test_a_ratio_of_norms_takes_every_part_and_no_nearly_empty_one():
    ratios = NormRatios([0.5, 1.0, 0.5, 0.5], 0)
    parts = [torch.full((40,), 1.0), torch.full((40,), 3.0)]
    for first, part in zip((0, context.BLOCK), parts, strict=True):
        ratios.see([part, part, part * 1e-12, torch.zeros(40)], TensorContext("w", first=first))
    ratios.end_pass()
    assert ratios.done
    kept = [keep_mask(part.shape, 0.5, 0, "w", 0, first) for first, part in zip((0, context.BLOCK), parts, strict=True)]
    after = sum(float((mask * part).sum()) for mask, part in zip(kept, parts, strict=True))
    assert ratios.ratio(0) == pytest.approx(160.0 / after)
    assert [ratios.ratio(task) for task in (1, 2, 3)] == [1.0, 1.0, 1.0]
