"""The summary: lines that can be followed while they are written, and torn without harm."""

import gc
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.run import summary
from store.run.summary import SummaryReader, dump_record, parse_record, parse_records


def line(index: int, **more: Any) -> bytes:
    return dump_record({"index": index, "status": "done", **more}) + b"\n"


def indices(records: list[dict[str, Any]]) -> list[int]:
    return [record["index"] for record in records]


@given(st.text(), st.floats(-1e300, 1e300), st.integers(-(2**60), 2**60))
def test_records_come_back(name: str, number: float, index: int) -> None:
    record = {"index": index, "status": "done", "name": name, "energy": number}
    data = dump_record(record)
    assert b"\n" not in data
    assert data.isascii()
    assert parse_record(data) == {**record, "energy": float(f"{number:.15g}")}


def test_numbers_that_are_not_finite_become_null() -> None:
    """Other programs read the summary, and NaN is no JSON."""
    data = dump_record({"index": 1, "status": "done", "energy": math.nan, "list": [math.inf, {"x": -math.inf, "y": 2}]})
    assert json.loads(data) == {"index": 1, "status": "done", "energy": None, "list": [None, {"x": None, "y": 2}]}


def test_numpy_numbers_are_numbers() -> None:
    numbers = {"x": np.float32(0.5), "n": np.int64(3), "a": np.arange(3), "b": np.True_, "t": (1, np.float64("nan"))}
    record = {"index": 1, "status": "done", **numbers}
    assert json.loads(dump_record(record)) == {
        "index": 1,
        "status": "done",
        "x": 0.5,
        "n": 3,
        "a": [0, 1, 2],
        "b": True,
        "t": [1, None],
    }


TORN = [
    b"{",
    b'{"index":1,"sta',
    b"null",
    b"[]",
    b'"x"',
    b"1,2",
    b'{"index":"1","status":"done"}',
    b'{"index":true,"status":"done"}',
    b'{"index":1}',
    b'{"index":1,"status":"great"}',
    b"\xff\xfe",
    b"\x00",
    b"",
    b"[" * 100_000,
]


@pytest.mark.parametrize("torn", TORN, ids=lambda data: repr(data[:20]))
def test_a_line_that_is_no_record_is_left_out(torn: bytes) -> None:
    assert parse_record(torn) is None
    assert indices(parse_records(line(1) + torn + b"\n" + line(2))) == [1, 2]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "1" + 40 * "0"])
def test_numbers_that_strict_json_has_not_cost_no_record(number: str) -> None:
    data = line(1) + b'{"index":2,"status":"done","energy":%s}\n' % number.encode() + line(3)
    assert indices(parse_records(data)) == [1, 2, 3]


@pytest.mark.parametrize("many", [1, 1 << 22])
def test_the_collector_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr(summary, "_MANY", many)
    assert gc.isenabled()
    parse_records(line(1))
    assert gc.isenabled()
    gc.disable()
    try:
        parse_records(line(1))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_following_does_not_thaw_what_a_program_froze() -> None:
    gc.freeze()
    try:
        parse_records(line(1))
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_summary_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "summary.jsonl"
    reader = SummaryReader(path)
    assert reader.poll() == (False, [])
    path.write_bytes(line(1) + line(2))
    assert indices(reader.poll()[1]) == [1, 2]
    assert reader.poll() == (False, [])
    with path.open("ab") as file:
        file.write(line(3)[:-5])
        file.flush()
        assert reader.poll() == (False, [])
        file.write(line(3)[-5:])
    assert indices(reader.poll()[1]) == [3]


@pytest.mark.parametrize("limit", [1, 60, 10_000])
def test_a_summary_can_be_read_some_at_a_time(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "summary.jsonl"
    path.write_bytes(b"".join(map(line, range(9))) + line(9)[:-5])
    reader, found, looks = SummaryReader(path), [], 0
    while looks == 0 or reader.share_read < 1:
        before, looks = reader.share_read if looks else 0.0, looks + 1
        found += indices(reader.poll(limit)[1])
        assert reader.share_read > before
    assert found == list(range(9))
    assert (looks == 1) == (limit == 10_000)
    with path.open("ab") as file:
        file.write(line(9)[-5:] + line(10))
    assert indices(reader.poll()[1]) == [9, 10]
    assert reader.share_read == 1


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    """Lines already read can be overwritten with anything without being noticed."""
    path = tmp_path / "summary.jsonl"
    path.write_bytes(line(1))
    reader = SummaryReader(path)
    reader.poll()
    with path.open("r+b") as file:
        file.write(b"x" * 10)
        file.seek(0, 2)
        file.write(line(2))
    assert indices(reader.poll()[1]) == [2]


def test_a_new_summary_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "summary.jsonl"
    path.write_bytes(line(1) + line(2))
    reader = SummaryReader(path)
    reader.poll()
    (tmp_path / "new").write_bytes(line(5) + line(6) + line(7))
    (tmp_path / "new").rename(path)
    over, records = reader.poll()
    assert over
    assert indices(records) == [5, 6, 7]
    path.write_bytes(line(8))
    over, records = reader.poll()
    assert over
    assert indices(records) == [8]
    path.unlink()
    assert reader.poll() == (True, [])
    assert reader.poll() == (False, [])
