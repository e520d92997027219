"""Files of data: what is read, and what is refused with the line it stands in."""

from __future__ import annotations

import math

import pytest

from globa_tui.diagnostics import UsageError
from globa_tui.jobs.evaluation import command, metrics
from globa_tui.jobs.evaluation.command import CommandError, OwnCommand
from globa_tui.jobs.evaluation.data import DataError, read_all, read_data
from globa_tui.jobs.evaluation.metrics import harmonic_mean, metrics_from, share_kept


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("{", 1, "not an object"),
        ('{"question": "a"}', 1, "not an object"),
        ('\n{"prompt": "a"}', 2, '"answer" must be a text'),
        ('{"prompt": "", "answer": "b"}', 1, '"prompt" must be a text'),
        ('{"prompt": "a", "answer": 3}', 1, '"answer" must be a text'),
        ('{"prompt": "a", "answer": "b", "stop": [1]}', 1, '"stop" must be'),
        ('{"prompt": "a", "answer": "b", "choices": ["b"]}', 1, '"choices" must be'),
        ('{"prompt": "a", "answer": "c", "choices": ["a", "b"]}', 1, "none of the choices"),
        ('{"prompt": "a", "answer": 2, "choices": ["a", "b"]}', 1, "none of the choices"),
        ('{"prompt": "a", "answer": true, "choices": ["a", "b"]}', 1, "none of the choices"),
        ('{"text": "\\ud800"}', 1, "half a character"),
        ('{"text": "a"}\n{"prompt": "a", "answer": "b"}', 2, "another kind of row"),
        ("[" * 100_000, 1, "not an object"),
    ],
)
def test_a_bad_row_is_named(tmp_path, text, line, what):
    path = tmp_path / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"rows.jsonl, line {line}: .*{what}"):
        read_data(str(path))


def test_files_have_names(tmp_path):
    (tmp_path / "a=b.txt").write_text("hello", encoding="utf-8")
    assert read_data(str(tmp_path / "a=b.txt")).name == "a=b"
    assert read_data(f"greeting={tmp_path / 'a=b.txt'}").name == "greeting"
    (tmp_path / "none.jsonl").write_text("\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for name, what in (("none.jsonl", "no rows"), ("latin.txt", "byte 3 is not UTF-8"), ("gone.txt", "No such file")):
        with pytest.raises(DataError, match=what):
            read_data(str(tmp_path / name))
    with pytest.raises(DataError, match="two files are named 'x'"):
        read_all([f"x={tmp_path / 'a=b.txt'}"] * 2)


def script(tmp_path, text):
    path = tmp_path / "eval.sh"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_an_own_command_prints_its_numbers(tmp_path):
    path = script(tmp_path, 'echo "{\\"score\\": 0.5, \\"f1\\": {\\"value\\": 1, \\"low\\": 0}, \\"of\\": \\"$1\\"}"')
    command = OwnCommand.parse(f"mine={path} {{model}}")
    found = command.run(tmp_path / "a model; echo")
    assert [(m.name, m.value, m.low, m.high) for m in found.values()] == [
        ("score", 0.5, None, None),
        ("f1", 1.0, 0.0, None),
    ]
    before = command.sha256()
    script(tmp_path, "echo 1")
    assert command.sha256() != before, "another script measures something else"


@pytest.mark.parametrize(
    ("text", "what"), [("exit 3", "ended with code 3"), ("echo hello", "printed 'hello"), ("echo '{}'", "object of")]
)
def test_an_own_command_that_fails_is_named(tmp_path, text, what):
    with pytest.raises(CommandError, match=what):
        OwnCommand.parse(f"{script(tmp_path, text)} {{model}}").run(tmp_path)


@pytest.mark.parametrize("text", ["./eval.sh", "", "'", "x="])
def test_a_command_needs_a_place_for_the_model(text):
    with pytest.raises(UsageError, match="--command"):
        OwnCommand.parse(text)


def test_shares_and_their_mean():
    assert share_kept("bits_per_byte", 2.0, 1.0) == 0.5
    assert share_kept("exact_match", 0.3, 0.6) == 0.5
    assert share_kept("exact_match", None, 0.6) == share_kept("exact_match", 0.5, 0.0) == 0.0
    assert harmonic_mean([0.5, 1.0]) == pytest.approx(2 / 3)
    assert harmonic_mean([1.0, 0.0]) == harmonic_mean([]) == 0.0
    assert harmonic_mean([math.inf, math.inf]) == math.inf
    assert harmonic_mean([math.inf, 1.0]) == 2.0


def test_a_strangers_record_breaks_nothing():
    odd = {"metrics": {"a": 3, "b": {"value": "x"}, "c": {"value": 1, "low": float("nan"), "items": True}}}
    assert [(m.name, m.value, m.low, m.items) for m in metrics_from(odd)] == [
        ("b", None, None, None),
        ("c", 1.0, None, None),
    ]
    assert metrics_from({}) == metrics_from({"metrics": []}) == []


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), True, "1"])
def test_a_measure_that_is_no_finite_number_is_none(value: object) -> None:
    """A journal or a program of others may say anything."""
    assert metrics._number(value) is None
    assert not command._is_number(value)
    assert metrics._number(3) == 3.0
