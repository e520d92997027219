"""Datapoints drawn from text files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from globa_tui.diagnostics import UsageError
from globa_tui.jobs import texts
from globa_tui.jobs.texts import draw


def file(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def drawn(path: Path, samples: int = 100, seed: int = 0, field: str | None = None) -> list[str]:
    return list(draw([path], samples, seed, field)[0].texts)


@pytest.mark.parametrize(
    ("name", "text", "unit", "wanted"),
    [
        ("a.txt", "one\n two \nthree\n", "line", ["one", "two", "three"]),
        ("b.txt", "one\ntwo\n\n\nthree\n", "paragraph", ["one\ntwo", "three"]),
        ("c.txt", "line\n" * 100 + "\nmore\n", "line", ["line"] * 100 + ["more"]),
        ("d.jsonl", '{"text": "b", "prompt": "a"}\n\n"c"\n', "record", ["a", "c"]),
        ("e.ndjson", '{"messages": [{"role": "user", "content": "x"}, {"content": "y"}]}\n', "record", ["x\ny"]),
    ],
)
def test_what_a_datapoint_is(tmp_path: Path, name: str, text: str, unit: str, wanted: list[str]) -> None:
    found = draw([file(tmp_path, name, text)], 200, 0)[0]
    assert (found.unit, list(found.texts), found.datapoints) == (unit, wanted, len(wanted))


def test_a_field_can_be_named(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", '{"text": "a", "answer": "b"}\n')
    assert drawn(path) == ["a"]
    assert drawn(path, field="answer") == ["b"]


def test_the_choice_is_fair_repeatable_and_in_order(tmp_path: Path) -> None:
    path = file(tmp_path, "a.txt", "".join(f"{number:02d}\n" for number in range(20)))
    counts: Counter[str] = Counter()
    for seed in range(400):
        found = drawn(path, 5, seed)
        assert found == sorted(found) == drawn(path, 5, seed)
        assert len(set(found)) == 5
        counts.update(found)
    assert set(counts) == {f"{number:02d}" for number in range(20)}
    assert 60 < min(counts.values()) <= max(counts.values()) < 145, "each is drawn 100 times of 400"
    assert draw([path], 5, 0)[0].sha256 != draw([path], 5, 1)[0].sha256


def test_a_file_without_line_ends_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_CHARACTERS", 10)
    assert drawn(file(tmp_path, "a.txt", "x" * 25)) == ["x" * 10, "x" * 10, "x" * 5]
    assert drawn(file(tmp_path, "a.jsonl", json.dumps("y" * 25))) == ["y" * 10]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"\n \n", "holds no text"),
        ("a.txt", b"a\xff\n", "is not UTF-8 text"),
        ("a.jsonl", b"{}\n{oops\n", "line 1: has no text under prompt, text"),
        ("a.jsonl", b'"a"\n{oops\n', "line 2: is not JSON"),
        ("a.jsonl", b"[" * 10_000, "line 1: is not JSON"),
        ("a.jsonl", b"7\n", r"line 1: has no text under .* \(found: int\)"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError, match=said):
        drawn(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.txt: cannot be read"):
        drawn(tmp_path / "none.txt")
