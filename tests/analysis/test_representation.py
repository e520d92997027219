"""Distances of hidden states and what follows from them, against plain NumPy readings of the collapse paper."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import representation
from analysis.errors import OptionsError
from analysis.representation import bounds, difficulty, distances, hidden_sim, mergeable, select, why_undefined


def random_states(models: int, inputs: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(models, inputs, width, generator=torch.Generator().manual_seed(seed))


def square(pairs: dict[tuple[int, int], float], models: int) -> torch.Tensor:
    """A matrix of distances."""
    found = torch.zeros(models, models, dtype=torch.float64)
    for (i, j), value in pairs.items():
        found[i, j] = found[j, i] = value
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(1, 7), st.integers(1, 9), st.integers(0, 999))
def test_everything_is_the_papers(models, inputs, width, seed):
    states = random_states(models, inputs, width, seed)
    h = states.numpy().astype(np.float64)
    found = distances(states)
    pairs = list(combinations(range(models), 2))
    d = {(i, j): np.mean([np.linalg.norm(h[i, x] - h[j, x]) for x in range(inputs)]) for i, j in pairs}
    for i, j in pairs:
        assert float(found.mean[i, j]) == float(found.mean[j, i]) == pytest.approx(d[i, j])
        each = [np.linalg.norm(h[i, x] - h[j, x]) for x in range(inputs)]
        error = np.std(each, ddof=1) / np.sqrt(inputs) if inputs > 1 else np.nan
        assert float(found.standard_error[i, j]) == pytest.approx(error, nan_ok=True)
        norms = np.mean([np.linalg.norm(h[m, x]) for m in (i, j) for x in range(inputs)])
        assert float(found.relative[i, j]) == pytest.approx(d[i, j] / norms)
    delta = max(np.sqrt(np.mean(np.sum((h[i] - h[j]) ** 2, axis=-1))) for i, j in pairs)
    assert found.diameter == pytest.approx(delta)
    assert found.mean.diagonal().abs().max() == 0
    if models == 2:
        assert "0/0" in (why_undefined(found.mean) or "")
        return
    assert why_undefined(found.mean) is None
    largest, smallest = max(d.values()), min(d.values())
    similar = hidden_sim(found.mean)
    wanted = np.eye(models)
    for (i, j), value in d.items():
        wanted[i, j] = wanted[j, i] = (largest - value) / (largest - smallest)
    np.testing.assert_allclose(similar.numpy(), wanted, atol=1e-12)
    assert similar.min() == 0.0, "the farthest pair"
    assert similar.fill_diagonal_(0).max() == 1.0, "the closest pair"
    scores = [
        1 / m if (m := np.mean([wanted[i, j] for j in range(models) if j != i])) else np.inf for i in range(models)
    ]
    np.testing.assert_allclose(difficulty(hidden_sim(found.mean)).numpy(), scores)


def test_distances_are_widened_before_they_are_subtracted():
    """Hidden states of a thousand, a difference of one thousandth: lost in bfloat16, and squared away in float32."""
    states = torch.full((2, 3, 64), 1000.0, dtype=torch.float64)
    states[1] += 1e-3
    assert float(distances(states).mean[0, 1]) == pytest.approx(8e-3, rel=1e-9)


def test_permuting_models_permutes_results():
    states = random_states(4, 5, 6, 1)
    order = torch.tensor([2, 0, 3, 1])
    first, second = distances(states), distances(states[order])
    torch.testing.assert_close(first.mean[order][:, order], second.mean)
    torch.testing.assert_close(difficulty(hidden_sim(first.mean))[order], difficulty(hidden_sim(second.mean)))


def test_models_of_zeros_have_distance_zero():
    found = distances(torch.zeros(3, 2, 4))
    assert float(found.mean.max()) == float(found.relative.max()) == found.diameter == 0.0
    assert "all distances are equal" in (why_undefined(found.mean) or "")


def test_equal_distances_leave_it_undefined_and_unequal_ones_do_not():
    equal = square({(0, 1): 2.0, (0, 2): 2.0, (1, 2): 2.0}, 3)
    assert "equal" in (why_undefined(equal) or "")
    equal[0, 1] = equal[1, 0] = 2.5
    assert why_undefined(equal) is None


def test_a_model_that_is_farthest_from_all_others_is_infinitely_difficult():
    similar = hidden_sim(square({(0, 1): 1.0, (0, 2): 3.0, (1, 2): 3.0}, 3))
    assert difficulty(similar).tolist() == [2.0, 2.0, float("inf")]


def test_bounds_and_what_they_decide():
    found = bounds(diameter=2.0, width=3, models=3)
    assert (found.low, found.high, found.high_of_group) == (1.0, pytest.approx(1.5), pytest.approx(4 / 3))
    assert (mergeable(found, 1.4), mergeable(found, 1.2), mergeable(found, 0.9)) == (True, None, False)
    assert (mergeable(found, found.high_of_group), mergeable(found, found.low)) == (True, None), (
        "the bounds belong to it"
    )
    pair = bounds(2.0, 10, 2)
    assert pair.low == pair.high_of_group, "for two models nothing is left open"


def test_the_papers_upper_bound_fails_where_models_differ_on_different_inputs():
    """Three models, each apart from the others on one of three inputs, one component: the best merge by a fine grid."""
    h = np.eye(3)  # models × inputs
    diameter = distances(torch.from_numpy(h)[:, :, None]).diameter
    steps = np.linspace(0, 1, 61)
    weights = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9]
    best = min(max(np.mean((np.array(w) @ h - h[i]) ** 2) for i in range(3)) for w in weights)
    found = bounds(diameter, width=1, models=3)
    assert best == pytest.approx(2 / 9, abs=1e-3)
    assert found.low <= best
    assert found.high < best - 0.05, "the paper's"
    assert found.high_of_group == pytest.approx(2 / 9)


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 7), st.data())
def test_select_finds_the_lowest_worst_difficulty(models, data):
    count = data.draw(st.integers(2, models))
    similar = hidden_sim(distances(random_states(models, 3, 4, data.draw(st.integers(0, 999)))).mean)

    def worst(choice):
        rows = similar.numpy()
        return max(1 / np.mean([rows[i, j] for j in choice if j != i] or [1.0]) for i in choice)

    found = select(similar, count)
    with np.errstate(divide="ignore"):
        assert found.exact
        assert len(set(found.members)) == count
        assert found.worst == pytest.approx(worst(found.members))
        assert all(found.worst <= worst(other) * (1 + 1e-12) for other in combinations(range(models), count))


def test_select_leaves_out_the_stranger_also_when_there_are_too_many_choices(monkeypatch):
    states = random_states(1, 4, 8, 0) + 0.1 * random_states(7, 4, 8, 1)
    states[3] += 5.0
    similar = hidden_sim(distances(states).mean)
    exact = select(similar, 6)
    monkeypatch.setattr(representation, "MOST_CHOICES", 0)
    greedy = select(similar, 6)
    assert exact.members == greedy.members == (0, 1, 2, 4, 5, 6)
    assert (exact.exact, greedy.exact) == (True, False)
    assert greedy.worst == pytest.approx(exact.worst)
    monkeypatch.setattr(representation, "MOST_CHOICES", 7)
    assert select(similar, 6).exact, "7 choices of 6 models among 7"


@pytest.mark.parametrize("count", [1, 4])
def test_select_refuses_what_cannot_be_chosen(count):
    with pytest.raises(OptionsError, match=f"{count} of 3 models"):
        select(torch.eye(3, dtype=torch.float64), count)
