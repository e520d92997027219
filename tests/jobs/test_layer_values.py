"""Ranges of a merged tensor in one block, which they must fill."""

from __future__ import annotations

import pytest
import torch

from globa_tui.jobs.layer_values import joined

VALUES = torch.arange(6, dtype=torch.bfloat16)


@pytest.mark.parametrize("ends", [(6,), (2, 6), (1, 2, 5, 6)])
def test_ranges_that_follow_each_other_become_one_tensor(ends: tuple[int, ...]) -> None:
    starts = (0, *ends[:-1])
    found = joined(((start, VALUES[start:end]) for start, end in zip(starts, ends, strict=True)), 6)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, VALUES)


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ([(0, 2), (3, 6)], "from 3 to 6 after the first 2 of 6"),
        ([(0, 2), (0, 2), (2, 6)], "from 0 to 2 after the first 2 of 6"),
        ([(0, 2), (2, 5)], "ranges of 5 entries of 6"),
        ([(0, 4), (4, 6), (6, 6), (5, 6)], "from 5 to 6 after the first 6 of 6"),
        ([], "ranges of 0 entries of 6"),
    ],
)
def test_ranges_that_leave_out_or_repeat_entries_are_no_tensor(ranges: list[tuple[int, int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        joined(((start, VALUES[start:end]) for start, end in ranges), 6)


def test_an_empty_tensor_is_one_range() -> None:
    assert joined([(0, VALUES[:0])], 0).dtype == torch.bfloat16
