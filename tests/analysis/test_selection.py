"""Selecting magnitudes without sorting them."""

import numpy as np
import pytest
import torch

from analysis.merge.selection import Selection
from analysis.merge.trim import CountTrim, TensorTrim, trim_to_count


def selected(selection: Selection, parts: list[torch.Tensor]) -> Selection:
    while not selection.done:
        for part in parts:
            selection.see(part)
        selection.end_pass()
    return selection


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["normal", "ties", "tiny"])
def test_order_statistics_are_those_of_a_sort(dtype, kind):
    values = torch.randn(1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = {"normal": values, "ties": (4 * values).round() / 4, "tiny": values * 1e-40}[kind].to(dtype)
    shares = [0.001, 0.2, 0.5, 0.999]
    rank = lambda entries, share: max(1, round(entries * share))  # noqa: E731
    found = selected(Selection(shares, rank, dtype), list(values.split(77)))
    compared = values.double().abs().numpy() if dtype == torch.float64 else values.float().abs().numpy()
    for share in shares:
        wanted = np.sort(compared)[rank(1000, share) - 1]
        one = found.found[share]
        assert one.value == wanted
        assert (one.above, one.equal) == (int((compared > wanted).sum()), int((compared == wanted).sum()))


def test_nothing_to_select_needs_no_pass():
    assert Selection([], lambda entries, share: 1, torch.float32).done
    assert CountTrim(1.0, torch.float32).done


@pytest.mark.parametrize("density", [0.003, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_trim_in_parts_keeps_what_a_stable_sort_puts_first(density, dtype):
    values = torch.randint(-5, 6, (300,), generator=torch.Generator().manual_seed(2)).to(dtype)
    trim = CountTrim(density, dtype)
    cuts = [(0, 64), (64, 128), (128, 192), (192, 256), (256, 300)]
    passes = 0
    while not trim.done:
        for start, stop in cuts:
            trim.see(values[start:stop], start)
        trim.end_pass()
        passes += 1
    kept = torch.cat([trim.kept(values[start:stop], start) for start, stop in cuts])
    order = np.argsort(-values.abs().numpy(), kind="stable")[: max(1, int(density * 300))]
    wanted = np.zeros(300)
    wanted[order] = values.numpy()[order]
    np.testing.assert_array_equal(kept.numpy(), wanted)
    assert torch.equal(kept, trim_to_count(values, density))
    assert passes == (3 if dtype == torch.float32 else 5), "a pass more finds the last of equal magnitudes"


def test_float64_magnitudes_that_float32_cannot_tell_apart_are_told_apart():
    values = torch.tensor([1.0, 1.0 + 1e-12, 1.0 + 2e-12], dtype=torch.float64)
    assert trim_to_count(values, 0.34).tolist() == [0.0, 0.0, values[2].item()]
    assert trim_to_count(values.float(), 0.34).tolist() == [1.0, 0.0, 0.0]


def test_models_of_one_tensor_are_trimmed_each_with_its_own_density():
    one, two = torch.tensor([1.0, -2.0, 3.0, 4.0]), torch.tensor([4.0, 3.0, -2.0, 1.0])
    trims = TensorTrim([0.5, 0.25], torch.float32, lambda vectors, context: [lambda v=v: v for v in vectors])
    from analysis.merge import TensorContext

    while not trims.done:
        trims.see([one, two], TensorContext())
        trims.end_pass()
    assert trims.kept(0, one, 0).tolist() == [0.0, 0.0, 3.0, 4.0]
    assert trims.kept(1, two, 0).tolist() == [4.0, 0.0, 0.0, 0.0]
