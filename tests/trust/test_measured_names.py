"""What `sweep` and `compare` say and keep: names and files of strangers are shown and read, never obeyed."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from analysis.merge import METHODS
from globa_tui.cli import compare
from globa_tui.cli.tables import show_table
from globa_tui.diagnostics import printable
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.compare import job
from globa_tui.jobs.compare.results import Comparison, Line, read_lines
from globa_tui.jobs.compare.settings import CompareRequest
from globa_tui.jobs.evaluation.data import split_name
from globa_tui.jobs.evaluation.metrics import Reference
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.jobs.sweep.search import Searching, two_stage
from globa_tui.jobs.sweep.settings import SweepRequest
from store.run.journal import SWEEPS
from tests.cli.records import call
from tests.evaluation.questions import MODELS, write_text
from tests.trust import mutate
from tests.trust.scale import note
from tests.trust.test_neutral import HOSTILE, neutral, said
from tests.trust.test_running import foreseen, some

pytestmark = [pytest.mark.timeout(3000), pytest.mark.xdist_group("running")]

ALL = "".join(HOSTILE)
FOLDER, TASK = ("".join(part).replace("/", "\u2044") for part in (HOSTILE[:12], HOSTILE[:2] + HOSTILE[12:]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One matrix of the demo family, in a folder and beside data with hostile names."""
    folder = tmp_path_factory.mktemp("names") / FOLDER
    folder.mkdir()
    sources = (str(MODELS / "math"), str(MODELS / "code"))
    settings = AnalysisSettings(include=("layers.0.self_attn.q_proj",))
    asked = AnalysisRequest(str(MODELS / "base"), sources, folder / "r.globa", settings)
    run_analysis(asked)
    write_text(folder / f"{TASK}.txt", 100)
    return asked.store


def words(command: str, run: Path, *more: str) -> list[str]:
    data = run.parent / f"{TASK}.txt"
    return [command, str(run), "--data", str(data), "--window", "64", "--limit", "1", "--quiet", *more]


def _one_candidate() -> Searching:
    yield next(two_stage())[:1]


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons of one method, with one candidate of GLOBA."""
    monkeypatch.setattr(job, "METHODS", {"linear": METHODS["linear"]})
    monkeypatch.setattr(job, "two_stage", _one_candidate)


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("command", ["sweep", "compare"])
def test_names_of_runs_and_data_are_neutral(run: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A task has the name of its file, which heads a column; the run's stands in the command to merge."""
    monkeypatch.setattr(job, "METHODS", {})
    more = ("--search", "grid", "--grid", "A=0,1") if command == "sweep" else ("--budget", "1")
    found = call(*words(command, run, *more))
    assert found.code == 0, found.err
    table = said(found).splitlines()
    assert r"\x1b" in table[0]
    assert r"\x1b" in table[-1]
    as_json = call(*words(command, run, *more, "--json"))
    assert as_json.out.isascii()
    document = json.loads(as_json.out)
    assert list((document if command == "sweep" else document["tuning"])["tasks"]) == [TASK]


@pytest.mark.usefixtures("_short")
def test_a_stranger_cannot_lead_a_comparison_astray(run: Path, tmp_path: Path) -> None:
    """Texts of a journal that came with a run are shown harmlessly, numbers that are none are measured again."""
    own = tmp_path / "r.globa"
    shutil.copytree(run, own, ignore=shutil.ignore_patterns(SWEEPS, job.COMPARISONS))
    data = ("--data", f"text={run.parent / f'{TASK}.txt'}", "--window", "64", "--limit", "1", "--quiet")
    asked = ["compare", str(own), *data, "--budget", "1"]
    assert call(*asked).code == 0
    (journal,) = (own / job.COMPARISONS).glob("*.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for record, change in zip(records, ({"farthest": ALL}, {"seconds": "soon"}, {"values": {"text": 7}}), strict=False):
        record.update(change)
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    found = call(*asked)
    assert found.code == 0, found.err
    assert r"\x1b]0;owned\x07" in said(found)
    assert len(journal.read_text().splitlines()) > len(records)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_on_a_terminal_is_neutral(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Heads of columns as much as cells."""
    line = Line(text, text, {text: {"accuracy": 0.5}}, 1.0, 7, 0.1, text, {})
    found = Comparison({text: "accuracy"}, {text: Reference("accuracy", 0.1, 1.0)}, "share", [line])
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    show_table(compare.table(found, found))
    drawn = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    neutral(drawn)
    assert drawn.count(printable(text)) == 4


def record_of_a_line() -> dict[str, Any]:
    values = {"method": "linear", "setting": "defaults", "values": {"sums": {"accuracy": 0.4}}, "recipe": {"a": 1}}
    return {"format": 1, **values, "seconds": 1.5, "memory": 1000, "drift": 0.1, "farthest": "model.norm.weight"}


def test_a_changed_journal_of_a_comparison(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    @some
    @given(line=mutate.of_json(record_of_a_line()))
    def check(line: bytes) -> None:
        path.write_bytes(line + b"\n")

        def read() -> None:
            lines = read_lines(path)
            found = Comparison({"sums": "accuracy"}, {"sums": Reference("accuracy", 0.1, 0.5)}, "share", lines)
            assert len(compare.table(found).rows) == len(lines)

        foreseen(read)
        note("compare", "changed journal", "read, or left out")

    check()
    path.write_text(json.dumps(record_of_a_line()) + "\n")
    assert len(read_lines(path)) == 1


def test_a_changed_request(tmp_path: Path) -> None:
    """`resume` goes on with the request that lies in the run: it is what a command could have asked for, or refused."""
    sweep = SweepRequest(tmp_path, ("a=b",), grid=("A=0,1",), parts=("mlp",), metrics={"a": "b"}, test=("c",))
    asked = CompareRequest(sweep, 3)
    assert CompareRequest.from_json(asked.to_json()) == asked

    @some
    @given(text=mutate.of_json(json.loads(asked.to_json())))
    def check(text: bytes) -> None:
        def read() -> None:
            found = CompareRequest.from_json(text.decode(errors="replace")).sweep
            list(map(split_name, (*found.data, *found.test)))
            assert all(isinstance(word, str) for word in (*found.grid, *found.parts, *found.fine_tuned, *found.metrics))

        foreseen(read)
        note("resume", "changed request of a comparison", "read, or refused")

    check()
