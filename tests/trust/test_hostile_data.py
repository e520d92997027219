"""Data that models are measured on, broken or hostile: one line at every command that takes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from tests.cli.records import call
from tests.evaluation.questions import MODELS
from tests.trust.scale import note
from tests.trust.test_neutral import HOSTILE, neutral

pytestmark = pytest.mark.xdist_group("running")

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b'{"prompt": "1+1=", "answer": \n',
    "no object": b"[1, 2]\n",
    "no end of brackets": b"[" * 200_000,
    "a number of 100,000 digits": b'{"prompt": "a", "answer": ' + b"9" * 100_000 + b"}\n",
    "a line of 8 MB": b'{"prompt": "' + b"a" * 8_000_000,
    "NUL": b"\0" * 4096,
    "bytes that are no UTF-8": b"\xff\xfe{}\n",
    "half a character": b'{"prompt": "\\ud800", "answer": "2"}\n',
    "an escape in the bytes": b'{"prompt": "\x1b[2J\n',
    "other types": b'{"prompt": ["a"], "answer": {"b": 1}, "stop": 7}\n',
    "a choice that is none": b'{"prompt": "a", "choices": ["b", "c"], "answer": 99999999999999999999}\n',
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One matrix of the demo family."""
    asked = AnalysisRequest(
        str(MODELS / "base"),
        (str(MODELS / "math"), str(MODELS / "code")),
        tmp_path_factory.mktemp("data") / "r.globa",
        AnalysisSettings(include=("layers.0.self_attn.q_proj",)),
    )
    run_analysis(asked)
    return asked.store


def commands(run: Path, data: Path) -> list[list[str]]:
    models = [str(MODELS / name) for name in ("base", "math", "code")]
    return [
        ["evaluate", models[1], "--data", str(data)],
        ["sweep", str(run), "--data", str(data)],
        ["compare", str(run), "--data", str(data)],
        ["represent", *models, "--data", str(data), "--samples", "1"],
    ]


def refused(words: list[str], what: str) -> None:
    found = call(*words)
    assert found.code == 2, (words[0], found)
    assert found.out == ""
    assert found.err.count("\n") == 1, found.err
    assert len(found.err) < 1000
    neutral(found.err)
    note(words[0], f"data: {what}", "refused, one line")


@pytest.mark.parametrize("what", BROKEN)
def test_broken_questions(run: Path, tmp_path: Path, what: str) -> None:
    data = tmp_path / "data.jsonl"
    data.write_bytes(BROKEN[what])
    for words in commands(run, data):
        if words[0] != "represent" or what not in REPRESENTED:
            refused(words, what)


REPRESENTED = ("half a character", "a choice that is none", "a number of 100,000 digits")
"""Of these `represent` can read the prompt, or does not look at what is wrong."""


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to a device", "missing"])
def test_no_file(run: Path, tmp_path: Path, kind: str) -> None:
    data = tmp_path / "data.txt"
    if kind == "folder":
        data.mkdir()
    elif kind == "pipe":
        os.mkfifo(data)
    elif kind == "device":
        data = Path("/dev/zero")
    elif kind == "link to a device":
        data.symlink_to("/dev/zero")
    for words in commands(run, data):
        refused(words, f"a {kind} in its place")


@pytest.mark.parametrize("name", [name.replace("/", "\u2044") for name in HOSTILE])
def test_names_of_files_are_neutral(run: Path, tmp_path: Path, name: str) -> None:
    data = tmp_path / f"{name}.jsonl"
    data.write_text("{")
    for words in commands(run, data):
        refused(words, "a hostile name")


def test_a_name_of_a_task_is_no_path(run: Path, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("{")
    for words in commands(run, tmp_path / "data.jsonl")[:3]:
        words[words.index("--data") + 1] = f"..={tmp_path}/../{tmp_path.name}/data.jsonl"
        refused(words, "`..` as a name")
    assert not any(tmp_path.parent.glob("*.jsonl"))
