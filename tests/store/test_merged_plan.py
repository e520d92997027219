"""An output is divided into files before anything is written, the same way every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.checkpoints.dtypes import BITS
from store.checkpoints.headers import parse_header
from store.errors import StoreError
from store.merged import OutputPlan, OutputTensor, plan_output
from tests.store.make import size_of

FOUR = [OutputTensor(name, "F32", (2, 2)) for name in "abcd"]


def files(plan: OutputPlan) -> list[tuple[str, str]]:
    return [(shard.file, "".join(tensor.name for tensor in shard.tensors)) for shard in plan.shards]


def test_one_file_needs_no_index() -> None:
    plan = plan_output(FOUR, 64)
    assert files(plan) == [("model.safetensors", "abcd")]
    assert plan.index_text() is None
    assert plan.nbytes == 64


def test_files_are_filled_in_order() -> None:
    plan = plan_output(FOUR, 63)
    assert files(plan) == [("model-00001-of-00002.safetensors", "abc"), ("model-00002-of-00002.safetensors", "d")]
    text = plan.index_text()
    assert text is not None
    assert json.loads(text) == {
        "metadata": {"total_size": 64},
        "weight_map": {**dict.fromkeys("abc", "model-00001-of-00002.safetensors"), "d": plan.shards[1].file},
    }


def test_a_large_tensor_has_a_file_of_its_own() -> None:
    tensors = [FOUR[0], OutputTensor("large", "F32", (100,)), FOUR[1], FOUR[2]]
    assert [names for _, names in files(plan_output(tensors, 32))] == ["a", "large", "bc"]
    assert [names for _, names in files(plan_output(tensors[1:], 32))] == ["large", "bc"]


def test_wider_types_come_first_within_a_file() -> None:
    tensors = [OutputTensor("a", "BOOL", (3,)), OutputTensor("b", "F32", (1,)), OutputTensor("c", "BOOL", (1,))]
    assert files(plan_output(tensors, 100)) == [("model.safetensors", "bac")]


@pytest.mark.parametrize(
    ("tensors", "size", "expected"),
    [
        (FOUR, 0, "choose a positive size"),
        ([], 10, "without tensors"),
        ([*FOUR, FOUR[0]], 10, "'a' is planned twice"),
        ([OutputTensor("__metadata__", "F32", ())], 10, "is no name"),
        ([OutputTensor("", "F32", ())], 10, "is no name"),
        ([OutputTensor("\ud800", "F32", ())], 10, "is no name"),
        ([OutputTensor("a", "F33", ())], 10, r"F33 \[\] cannot be written"),
        ([OutputTensor("a", "F4", (2,))], 10, r"F4 \[2\] cannot be written"),
        ([OutputTensor("a", "F32", (-1,))], 10, r"F32 \[-1\] cannot be written"),
        ([OutputTensor("a", "F32", (True,))], 10, "cannot be written"),
    ],
)
def test_refuses_what_cannot_be_written(tensors: list[OutputTensor], size: int, expected: str) -> None:
    with pytest.raises(StoreError, match=expected):
        plan_output(tensors, size)


OUTPUTS = st.lists(
    st.builds(
        OutputTensor,
        st.text(min_size=1, max_size=8),
        st.sampled_from(sorted(code for code, bits in BITS.items() if bits >= 8)),
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda tensor: tensor.name,
)
METADATA = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3)


@given(tensors=OUTPUTS, size=st.integers(1, 200), metadata=METADATA)
def test_headers_are_valid_aligned_and_hold_everything_once(
    tensors: list[OutputTensor], size: int, metadata: dict[str, str]
) -> None:
    plan = plan_output(tensors, size)
    assert sorted(tensor.name for tensor in plan.tensors) == sorted(tensor.name for tensor in tensors)
    for shard in plan.shards:
        assert len(shard.tensors) == 1 or (shard.tensors and shard.nbytes <= size)
        header = shard.header(metadata)
        assert len(header) % 8 == 0
        assert int.from_bytes(header[:8], "little") == len(header) - 8
        found = parse_header(header[8:], Path(shard.file), len(header) + shard.nbytes)
        assert {t.name: (t.dtype, t.shape) for t in found} == {t.name: (t.dtype, t.shape) for t in shard.tensors}
        assert all(t.offset % (BITS[t.dtype] // 8) == 0 for t in found)
        assert all(t.nbytes == size_of(t.dtype, t.shape) for t in found)


@given(metadata=METADATA)
def test_metadata_in_any_order_gives_the_same_bytes(metadata: dict[str, str]) -> None:
    shard = plan_output(FOUR, 100).shards[0]
    assert shard.header(metadata) == shard.header(dict(reversed(metadata.items())))
