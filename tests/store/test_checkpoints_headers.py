"""A safetensors header is believed only as far as the file bears it out."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from store.checkpoints import headers
from store.checkpoints.dtypes import BITS
from store.checkpoints.headers import parse_header, read_header
from store.errors import CheckpointError
from tests.store import make

GOOD: dict[str, Any] = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}


def changed(name: str, **fields: object) -> dict[str, Any]:
    return {**GOOD, name: {**GOOD[name], **fields}}


def one_line(error: pytest.ExceptionInfo[CheckpointError], path: Path) -> str:
    text = str(error.value)
    assert text.isprintable()
    assert text.startswith(str(path))
    assert "; " in text, "the message has no cure"
    return text


def test_reads_what_the_library_wrote(tmp_path: Path) -> None:
    tensors = {"b": torch.zeros(3, 2, dtype=torch.bfloat16), "a": torch.zeros(5), "scalar": torch.tensor(1.0)}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    found, file = read_header(tmp_path / "m.safetensors")
    assert {t.name: (t.dtype, t.shape) for t in found} == {
        "a": ("F32", (5,)),
        "b": ("BF16", (3, 2)),
        "scalar": ("F32", ()),
    }
    assert [t.offset for t in found] == sorted(t.offset for t in found)
    assert found[-1].offset + found[-1].nbytes == file.size == (tmp_path / "m.safetensors").stat().st_size
    assert len(file.header_sha256) == 64


def test_accepts_the_header_the_broken_ones_are_made_of(tmp_path: Path) -> None:
    found, _ = read_header(make.raw_file(tmp_path / "m.safetensors", GOOD, bytes(32)))
    assert [(t.name, t.shape, t.nbytes) for t in found] == [("a", (2, 3), 24), ("b", (4,), 8)]


DUPLICATE = json.dumps(GOOD).replace('"b"', '"a"').encode()
BROKEN: dict[str, tuple[object, str]] = {
    "negative size": (changed("a", shape=[-2, -3]), "tensor a.*shape"),
    "bool size": (changed("a", shape=[True, 6]), "tensor a.*shape"),
    "float size": (changed("a", shape=[2.0, 3]), "tensor a.*shape"),
    "text size": (changed("a", shape=["2", 3]), "tensor a.*shape"),
    "huge size": (changed("a", shape=[2**63, 0]), "tensor a.*shape"),
    "product beyond the file": (changed("a", shape=[2**62, 2**62, 2**62]), r"tensor a.*takes .* hold 24"),
    "too many axes": (changed("a", shape=[1] * 65), "tensor a.*shape"),
    "no shape": (changed("a", shape=None), "tensor a.*shape"),
    "wrong size": (changed("a", shape=[2, 2]), r"F32 \[2, 2\] takes 16 bytes.*hold 24"),
    "unknown type": (changed("a", dtype="F33"), "tensor a.*F33"),
    "type not text": (changed("a", dtype=["F32"]), "tensor a.*type"),
    "half a byte": (changed("a", dtype="F4", shape=[1], data_offsets=[0, 0]), "tensor a"),
    "three offsets": (changed("a", data_offsets=[0, 12, 24]), "tensor a.*data_offsets"),
    "negative offset": (changed("a", data_offsets=[-24, 0]), "tensor a.*data_offsets"),
    "backward offsets": (changed("a", data_offsets=[24, 0]), "tensor a.*-24"),
    "overlap": (changed("b", data_offsets=[16, 24]), "tensor b.*overlaps.*16, expected 24"),
    "same bytes twice": (changed("b", dtype="F32", shape=[6], data_offsets=[0, 24]), "overlaps"),
    "gap": (changed("b", data_offsets=[25, 33]), "tensor b.*gap.*25, expected 24"),
    "beyond the end": (changed("b", shape=[8], data_offsets=[24, 40]), "tensor b.*the file has"),
    "before the end": ({"a": GOOD["a"]}, "its tensors end at"),
    "entry not an object": ({**GOOD, "b": 3}, "tensor b.*not an object"),
    "metadata not texts": ({"__metadata__": {"format": 1}, **GOOD}, "__metadata__"),
    "metadata a list": ({"__metadata__": [], **GOOD}, "__metadata__"),
    "empty name": ({"": GOOD["a"], "b": GOOD["b"]}, "name has 0 characters"),
    "endless name": ({"x" * 1025: GOOD["a"], "b": GOOD["b"]}, "name has 1,025 characters"),
    "lone surrogate": ({"\ud800": GOOD["a"], "b": GOOD["b"]}, r"tensor \\ud800.*Unicode"),
    "control characters": ({"\x1b[2J\n": 1, **GOOD}, r"tensor \\x1b\[2J\\n"),
    "duplicate name": (DUPLICATE, "'a' occurs twice"),
    "not an object": (b"[1, 2, 3, 4]", "does not start with '{'"),
    "leading blank": (b"  " + json.dumps(GOOD).encode(), "does not start with '{'"),
    "cut JSON": (json.dumps(GOOD).encode()[:-1], "not valid JSON"),
    "two documents": (b"{}{}", "not valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', "not UTF-8"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "deep nesting": (b'{"a":' * 100_000, "nested too deeply|not valid JSON"),
    "endless integer": (b'{"a": {"shape": [' + b"9" * 5000 + b"]}}", "not valid JSON|shape"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refuses_a_header_that_lies(tmp_path: Path, case: str) -> None:
    header, expected = BROKEN[case]
    path = make.raw_file(tmp_path / "m.safetensors", header, bytes(32))
    with pytest.raises(CheckpointError) as error:
        read_header(path)
    assert re.search(expected, one_line(error, path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "0 bytes are too few"),
        (b"\x02\0\0\0\0\0\0\0{", "9 bytes are too few"),
        (struct.pack("<Q", 2**63) + b"{}", r"claims 9,223,372,036,854,775,808 bytes, the file has 10"),
        (struct.pack("<Q", 3) + b"{}", "claims 3 bytes, the file has 10"),
        (struct.pack("<q", -1) + b"{}", "claims 18,446,744,073,709,551,615"),
    ],
)
def test_refuses_a_header_longer_than_its_file(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_header(path)
    assert expected in one_line(error, path)


def test_refuses_a_header_above_the_limit_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", headers.MAX_HEADER + 1))
        file.truncate(headers.MAX_HEADER + 100)
    with pytest.raises(CheckpointError, match="at most 100,000,000 are allowed"):
        read_header(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = make.raw_file(tmp_path / "m.safetensors", GOOD, bytes(32))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            read_header(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="but its tensors end at"):
        read_header(path)


SPECS = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(
        st.sampled_from(sorted(code for code, bits in BITS.items() if bits >= 8)),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


@given(spec=SPECS)
def test_any_valid_header_comes_back_as_it_was(spec: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    raw = json.dumps(make.header_of(spec)).encode()
    size = 8 + len(raw) + sum(make.size_of(*one) for one in spec.values())
    found = parse_header(raw, Path("m"), size)
    assert {t.name: (t.dtype, t.shape) for t in found} == spec
    end = 8 + len(raw)
    for tensor in found:
        assert (tensor.offset, tensor.nbytes) == (end, make.size_of(tensor.dtype, tensor.shape))
        end += tensor.nbytes


@given(garbage=st.binary(max_size=200))
def test_garbage_is_an_error_of_ours(garbage: bytes) -> None:
    with pytest.raises(CheckpointError):
        parse_header(b"{" + garbage, Path("m"), 10_000)


STRICTER = {"endless name", "empty name", "too many axes", "leading blank"}


@pytest.mark.parametrize("case", sorted(BROKEN.keys() - STRICTER))
def test_the_library_refuses_them_too(tmp_path: Path, case: str) -> None:
    """The broken headers are broken by the format's own standard, but for a few where we are stricter."""
    path = make.raw_file(tmp_path / "m.safetensors", BROKEN[case][0], bytes(32))
    with pytest.raises((SafetensorError, OSError, ValueError)), safe_open(path, "np"):
        pass
