"""Averages, TIES, DARE and SLERP against literal NumPy readings of the papers, mergekit and PEFT."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch

from analysis.errors import OptionsError
from analysis.merge import METHODS, TensorContext, merge_method
from analysis.merge.drop import keep_mask
from analysis.merge.signs import combine_agreeing, sign_votes
from analysis.merge.trim import trim_to_count
from tests.analysis.matrices import gaussian, relative
from tests.reference import averages
from tests.reference import ties as reference

SHAPES = [(7, 11), (40, 3), (64,), (3, 4, 5)]
WEIGHTS = {2: (0.3, 0.7), 3: (0.5, 0.3, 0.2)}
DTYPES = [torch.bfloat16, torch.float32]


def models(shape: tuple[int, ...], tasks: int, dtype: torch.dtype, seed: int = 1) -> list[torch.Tensor]:
    """A base and its fine-tunes as they lie on disk."""
    count = int(np.prod(shape))
    base = gaussian(1, count, seed, 0.05).reshape(shape)
    moved = [base + gaussian(1, count, seed + 10 + n, 0.01).reshape(shape) for n in range(tasks)]
    return [one.to(dtype) for one in (base, *moved)]


def deltas(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    base, *tuned = tensors
    return [one.float() - base.float() for one in tuned]


def merged(name: str, tensors: list[torch.Tensor], **params: Any) -> np.ndarray:
    """The merged weight in float32, as the job makes it."""
    base = tensors[0].float()
    context = TensorContext("model.layers.0.mlp.up_proj.weight", "matrix", base)
    return (base + merge_method(name).merge(deltas(tensors), params, context)).numpy()


def arrays(tensors: list[torch.Tensor]) -> list[np.ndarray]:
    return [one.double().numpy() for one in tensors]


def within_a_bf16_ulp(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal after rounding to bfloat16, up to one unit in the last place."""
    bits = [torch.from_numpy(np.asarray(x, np.float32)).bfloat16().view(torch.int16).int() for x in (found, wanted)]
    same_sign = (bits[0] < 0) == (bits[1] < 0)
    return bool((same_sign & ((bits[0] - bits[1]).abs() <= 1)).all())


def close(found: np.ndarray, wanted: np.ndarray, eps: float = 3e-7) -> bool:
    return float(np.abs(found - wanted).max()) <= eps * float(np.abs(wanted).max())


cases = pytest.mark.parametrize("shape", SHAPES, ids=str)
tasks_and_dtypes = pytest.mark.parametrize(("tasks", "dtype"), [(2, DTYPES[0]), (3, DTYPES[1]), (3, DTYPES[0])])


@cases
@tasks_and_dtypes
def test_averages_and_sums_are_mergekits(shape, tasks, dtype):
    tensors, weights = models(shape, tasks, dtype), WEIGHTS[tasks]
    base, *tuned = arrays(tensors)
    for variant in ("paper", "mergekit"):
        found = merged("linear", tensors, weight=weights, variant=variant)
        wanted = averages.weight_average(tuned, weights)
        assert close(found, wanted)
        assert within_a_bf16_ulp(found, wanted)
        found = merged("task_arithmetic", tensors, weight=weights, scale=0.7, variant=variant)
        wanted = averages.task_arithmetic(base, tuned, weights, 0.7)
        assert close(found, wanted)
        assert within_a_bf16_ulp(found, wanted)
    halved = averages.task_arithmetic(base, tuned, [2 * w for w in weights], 1 / (2 * sum(weights)))
    assert close(merged("task-arithmetic", tensors, weight=[2 * w for w in weights], normalize=True), halved)
    plain = sum(w * one for w, one in zip((1.0, 0.5, 0.25), tuned, strict=False))
    assert close(merged("linear", tensors, weight=(1.0, 0.5, 0.25)[:tasks], normalize=False), plain)


@cases
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp_is_mergekits(shape, dtype, t):
    close_by = models(shape, 2, dtype)
    far = [close_by[0], *(models(shape, 1, dtype, seed)[0] for seed in (5, 6))]
    for tensors in (close_by, far, [close_by[0], close_by[1], -far[1]]):
        _, *tuned = arrays(tensors)
        found, wanted = merged("slerp", tensors, t=t, variant="mergekit"), averages.slerp(*tuned, t)
        assert close(found, wanted, 1e-6)
        assert within_a_bf16_ulp(found, wanted)
    first, second = arrays(far)[1:]
    assert not close(averages.slerp(first, second, 0.3), 0.7 * first + 0.3 * second, 1e-3), "the arc is no chord here"


@pytest.mark.parametrize("t", [0.3, 0.9])
def test_slerp_of_nearly_parallel_weights_is_the_chord(t):
    """As in most tensors of fine-tunes; a hair beyond the limit it is the arc."""
    base = gaussian(30, 20, 1)
    one, two = (base + gaussian(30, 20, seed, size) for seed, size in ((2, 0.00005), (3, 0.0001)))
    assert close(merged("slerp", [base, one, two], t=t), (1 - t) * one.numpy() + t * two.numpy())
    assert close(merged("slerp", [base, one, two], t=t), averages.slerp(*arrays([one, two]), t), 1e-6)
    turned = [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]), torch.tensor([math.cos(0.04), math.sin(0.04)])]
    assert close(merged("slerp", turned, t=t), np.array([math.cos(0.04 * t), math.sin(0.04 * t)]))


def test_slerp_of_nothing_and_of_three():
    zero = [torch.zeros(2, 3)] * 3
    assert not merged("slerp", zero, t=0.5).any()
    with pytest.raises(OptionsError, match=r"slerp is for 2 models, there are 3"):
        merged("slerp", models((2, 2), 3, torch.float32))
    with pytest.raises(OptionsError, match="the base weight is needed"):
        merge_method("slerp").merge([torch.ones(2), torch.ones(2)], {})


@cases
@tasks_and_dtypes
@pytest.mark.parametrize("density", [0.2, 0.55, 1.0])
def test_ties_is_mergekits(shape, tasks, dtype, density):
    tensors, weights = models(shape, tasks, dtype), WEIGHTS[tasks]
    base = arrays(tensors)[0]
    exact = [delta.double().numpy() for delta in deltas(tensors)]
    found = merged("ties", tensors, variant="mergekit", weight=weights, density=density, scale=0.8)
    wanted = base + reference.mergekit_ties(exact, weights, [density] * tasks, 0.8)
    assert close(found, wanted)
    assert within_a_bf16_ulp(found, wanted)
    peft = merged("ties", tensors, variant="peft", weight=weights, density=density)
    assert close(peft, base + reference.peft_ties(exact, weights, density))
    counted = merged("ties", tensors, variant="peft", weight=weights, density=density, elect="frequency")
    assert close(counted, base + reference.peft_ties(exact, weights, density, "frequency"))


def test_ties_sees_negative_weights_and_one_density_per_model():
    tensors = models((9, 8), 2, torch.float32)
    exact = [delta.double().numpy() for delta in deltas(tensors)]
    found = merged("ties", tensors, variant="mergekit", weight=(1.0, -0.5), density=(0.4, 0.9))
    assert close(found, arrays(tensors)[0] + reference.mergekit_ties(exact, (1.0, -0.5), (0.4, 0.9)))


@pytest.mark.parametrize(
    ("elect", "combine", "wanted"),
    [
        # Two models of 1 and 3 with weights 1 and -0.5: both vote +, or by weighted entries the second votes -.
        ("total", "sum", 1.0 - 1.5),
        ("total", "count", (1.0 - 1.5) / 2),
        ("total", "mean", (1.0 - 1.5) / 0.5),
        ("frequency", "count", (1.0 - 1.5) / 2),
        ("weighted", "sum", -1.5),
        ("weighted", "mean", 3.0),
    ],
)
def test_negative_weights_turn_signs_only_where_votes_are_weighted(elect, combine, wanted):
    vectors = [lambda: torch.tensor([1.0]), lambda: torch.tensor([3.0])]
    votes = sign_votes(vectors, [1.0, -0.5], elect)
    assert combine_agreeing(vectors, [1.0, -0.5], votes, elect, combine, 1).tolist() == [wanted]


def whole_model(tasks: int, dtype: torch.dtype) -> list[tuple[str, list[torch.Tensor]]]:
    """Tensors of different scales, some entries of which cancel exactly."""
    named = [(f"t{n}", models(shape, tasks, dtype, seed=20 * n)) for n, shape in enumerate(SHAPES, 1)]
    for _, (base, first, second, *_) in named:
        second.view(-1)[:3] = (2 * base.float() - first.float()).view(-1)[:3].to(dtype)
    small = models((10, 10), tasks, dtype, seed=99)
    return [*named, ("small", [small[0], *(small[0] + (one - small[0]) / 100 for one in small[1:])])]


def prepared(name: str, params: dict[str, Any], named: list[tuple[str, list[torch.Tensor]]]) -> Any:
    """What the job does before it merges the first tensor."""
    method, tasks = merge_method(name), len(named[0][1]) - 1
    complete = method.complete(params, tasks)
    passes = method.passes([complete] * len(named), tasks)
    for _ in range(passes.passes):
        for tensor, tensors in named:
            passes.see(deltas(tensors), TensorContext(tensor, "matrix", tensors[0].float()), complete)
        passes.end_pass()
    return passes


def flat(named: list[tuple[str, list[torch.Tensor]]]) -> list[np.ndarray]:
    tasks = len(named[0][1]) - 1
    return [np.concatenate([deltas(t)[n].double().numpy().reshape(-1) for _, t in named]) for n in range(tasks)]


def whole_merge(name: str, params: dict[str, Any], named: list[tuple[str, list[torch.Tensor]]]) -> np.ndarray:
    passes = prepared(name, params, named)
    method = merge_method(name)
    found = [
        method.merge(deltas(tensors), params, TensorContext(tensor, "matrix", None, passes)).reshape(-1)
        for tensor, tensors in named
    ]
    return torch.cat(found).double().numpy()


@tasks_and_dtypes
@pytest.mark.parametrize("density", [0.2, 0.01, 0.9, 1.0])
def test_ties_of_the_paper_trims_whole_task_vectors(tasks, dtype, density):
    named = whole_model(tasks, dtype)
    found = whole_merge("ties", {"density": density, "scale": 1.3}, named)
    assert close(found, reference.notebook(flat(named), density, 1.3))
    if density == 0.2:
        assert not found[-100:].any(), "the small tensor keeps nothing"
        per_tensor = torch.cat([trim_to_count(deltas(t)[0], density).reshape(-1) for _, t in named])
        assert per_tensor[-100:].any(), "alone it would"


def test_ties_of_the_paper_takes_one_density_per_model():
    named = whole_model(2, torch.float32)
    assert close(whole_merge("ties", {"density": (0.1, 0.6)}, named), reference.notebook(flat(named), (0.1, 0.6)))


@pytest.mark.parametrize(
    ("name", "kept"), [("ties", {"density": 1.0}), ("dare_ties", {"density": 1.0, "trim_density": 1.0})]
)
def test_votes_that_cancel_elect_the_majority(name, kept):
    """Were they to elect + or nothing, the result would be another; a tensor that is trimmed alone elects +."""
    base = torch.zeros(20)
    first, second = torch.full((20,), -1.0), torch.full((20,), -0.5)
    second[:2] = 1.0
    named = [("a", [base, first, second])]
    found = whole_merge(name, kept, named)
    assert close(found, reference.notebook([first.double().numpy(), second.double().numpy()], 1.0))
    assert found[0] == -1.0
    context = TensorContext("a", "matrix", None, prepared(name, kept, named))
    assert merge_method(name).merge([first, second], {**kept, "trim": "tensor"}, context)[0] == 1.0


def test_a_whole_trim_without_its_first_pass_is_refused():
    with pytest.raises(OptionsError, match=r"first pass over the whole checkpoint; choose trim=tensor"):
        merged("ties", models((3, 3), 2, torch.float32))


def test_a_trim_of_single_tensors_needs_no_first_pass():
    ties = merge_method("ties")
    assert ties.passes([ties.complete({"trim": "tensor"}, 2)], 2) is None
    assert ties.passes([ties.complete({}, 2)], 2) is not None


def test_ties_without_weights_or_densities_takes_1_of_every_model():
    tensors = models((9, 8), 2, torch.float32)
    base, exact = arrays(tensors)[0], [delta.double().numpy() for delta in deltas(tensors)]
    assert close(
        merged("ties", tensors, variant="peft", density=()), base + reference.peft_ties(exact, (1.0, 1.0), 1.0)
    )
    assert close(merged("ties", tensors, variant="mergekit", weight=(0.0, 0.0)), base)
    with pytest.raises(OptionsError, match=r"^density has 3 values for 2 fine-tunes"):
        merged("ties", tensors, density=(0.1, 0.2, 0.3))


@pytest.mark.parametrize("name", METHODS)
def test_a_function_has_the_defaults_of_its_parameters(name):
    """Who calls it from a notebook gets what the command gives, or has to say."""
    method = merge_method(name)
    signature = inspect.signature(method.function).parameters
    for parameter in method.parameters:
        if parameter.name in signature:
            found = signature[parameter.name].default
            assert found in (parameter.default, *_single(parameter.default), _EMPTY), parameter.name


_EMPTY = inspect.Parameter.empty


def _single(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple) and len(value) == 1 else ()


def test_at_least_one_entry_is_kept():
    assert trim_to_count(torch.tensor([1.0, -3.0, 2.0]), 0.01).tolist() == [0.0, -3.0, 0.0]


def test_of_equal_magnitudes_the_first_are_kept():
    vector = torch.tensor([1.0, -2.0, 2.0, 2.0, -2.0, 3.0])
    assert trim_to_count(vector, 0.5).tolist() == [0.0, -2.0, 2.0, 0.0, 0.0, 3.0]
    assert int((trim_to_count(torch.ones(1000), 0.2) != 0).sum()) == 200


NAME = "model.layers.0.mlp.up_proj.weight"


@cases
@tasks_and_dtypes
@pytest.mark.parametrize("density", [0.5, 0.9])
def test_dare_given_the_same_masks(shape, tasks, dtype, density):
    tensors, weights = models(shape, tasks, dtype), WEIGHTS[tasks]
    base = arrays(tensors)[0]
    exact = [delta.double().numpy() for delta in deltas(tensors)]
    masks = [keep_mask(torch.Size(shape), density, 7, NAME, n).numpy() for n in range(tasks)]
    pairs = list(zip(exact, masks, strict=True))
    as_mergekit = [reference.mergekit_rescaled(delta, mask) for delta, mask in pairs]
    as_paper = [reference.paper_rescaled(delta, mask, 1 - density) for delta, mask in pairs]
    given = {"weight": weights, "density": density, "seed": 7}

    found = merged("dare_linear", tensors, variant="mergekit", **given)
    wanted = base + sum(w * one for w, one in zip(weights, as_mergekit, strict=True))
    assert close(found, wanted, 1e-6)
    assert within_a_bf16_ulp(found, wanted)
    found = merged("dare-linear", tensors, **given)
    assert close(found, base + sum(w * one for w, one in zip(weights, as_paper, strict=True)), 1e-6)

    found = merged("dare_ties", tensors, variant="mergekit", **given)
    wanted = base + reference.mergekit_consensus(as_mergekit, weights, False, 1.0)
    assert close(found, wanted, 1e-6)
    assert within_a_bf16_ulp(found, wanted)
    found = merged("dare_ties", tensors, variant="peft", **given)
    assert close(found, base + reference.peft_disjoint(as_paper, weights), 1e-6)


def test_dare_ties_of_the_paper_trims_what_was_dropped():
    named = whole_model(3, torch.float32)
    params = {"density": 0.7, "trim_density": 0.3, "seed": 3}
    dropped = []
    for task in range(3):
        parts = []
        for name, tensors in named:
            delta = deltas(tensors)[task]
            mask = keep_mask(delta.shape, 0.7, 3, name, task).numpy()
            parts.append((delta.numpy() * mask / np.float32(0.7)).reshape(-1).astype(np.float64))
        dropped.append(np.concatenate(parts))
    assert close(whole_merge("dare_ties", params, named), reference.notebook(dropped, 0.3))


def test_masks_are_fair_and_depend_on_everything_that_names_them():
    shape = torch.Size((400, 500))
    kept = keep_mask(shape, 0.3, 0, "a", 0)
    assert abs(float(kept.float().mean()) - 0.3) < 5 * (0.3 * 0.7 / shape.numel()) ** 0.5
    assert torch.equal(kept, keep_mask(shape, 0.3, 0, "a", 0))
    for other in (keep_mask(shape, 0.3, 1, "a", 0), keep_mask(shape, 0.3, 0, "b", 0), keep_mask(shape, 0.3, 0, "a", 1)):
        together = float((kept & other).float().mean())
        assert abs(together - 0.09) < 0.005, "two masks are independent"


def test_dare_keeps_the_expectation():
    tensors = models((20, 20), 1, torch.float32)
    draws = [merged("dare_linear", tensors, density=0.5, seed=seed) for seed in range(300)]
    spread = float(np.abs(arrays(tensors)[1] - arrays(tensors)[0]).mean())
    wanted = arrays(tensors)[1]
    assert float(np.abs(np.mean(draws, 0) - wanted).mean()) < 0.1 * spread
    unscaled = [merged("dare_linear", tensors, density=0.5, seed=seed, rescale="none") for seed in range(300)]
    assert float(np.abs(np.mean(unscaled, 0) - wanted).mean()) > 0.3 * spread


ELEMENTWISE = ["linear", "task_arithmetic", "ties", "dare_linear", "dare_ties"]
ALL_KEPT = {
    "ties": {"density": 1.0},
    "dare_linear": {"density": 1.0},
    "dare_ties": {"density": 1.0, "trim_density": 1.0},
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_one_model_that_is_kept_whole_is_that_model(name):
    named = whole_model(2, torch.float32)
    alone = [(tensor, tensors[:2]) for tensor, tensors in named]
    params = ALL_KEPT.get(name, {})
    if merge_method(name).prepare is not None:
        found = whole_merge(name, params, alone)
    else:
        found = np.concatenate([merge_method(name).merge(deltas(t), params).numpy().reshape(-1) for _, t in alone])
    np.testing.assert_array_equal(found, flat(alone)[0])


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_order_of_models_does_not_matter(name):
    """Weights move along; DARE's masks belong to the place of a model, so they are taken away."""
    tensors = models((6, 9), 3, torch.float32)
    params = {"trim": "tensor"} if "ties" in name else {}
    params |= {"density": 1.0} if "dare" in name else {}
    params |= {"trim_density": 0.4} if name == "dare_ties" else {}
    one = merged(name, tensors, weight=(0.2, 0.3, 0.9), **params)
    two = merged(name, [tensors[0], tensors[3], tensors[1], tensors[2]], weight=(0.9, 0.2, 0.3), **params)
    assert close(one, two)
    assert not close(one, merged(name, tensors, weight=(0.3, 0.2, 0.9), **params), 1e-4)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_broken_input_is_noticed(name):
    """The comparisons above fail when one entry of one model moves."""
    tensors = models((6, 9), 2, torch.float32)
    params = {"variant": "mergekit"}
    before = merged(name, tensors, **params)
    tensors[2][3, 4] += 0.03
    assert not close(before, merged(name, tensors, **params))
    assert not within_a_bf16_ulp(before, merged(name, tensors, **params))


@pytest.mark.parametrize("name", [*METHODS])
def test_inputs_are_left_as_they_are_and_results_repeat(name):
    tensors = models((12, 10), 2, torch.float32)
    params = {"trim": "tensor"} if "ties" in name else {}
    before = [one.clone() for one in deltas(tensors)]
    taus = [one.clone() for one in before]
    context = TensorContext("t", "matrix", tensors[0].clone())
    first = merge_method(name).merge(taus, params, context)
    assert all(torch.equal(one, two) for one, two in zip(before, taus, strict=True))
    assert torch.equal(context.base, tensors[0])
    assert torch.equal(first, merge_method(name).merge(taus, params, context))
    assert first.dtype == torch.float32
    wide = merge_method(name).merge(
        [one.double() for one in taus], params, TensorContext("t", "matrix", tensors[0].double())
    )
    assert wide.dtype == torch.float64
    assert relative(first, wide) < 1e-4
