"""Commands that run models: folders, data and journals of strangers are read, never obeyed."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from globa_tui.coefficients import PATTERNS, Coefficients
from globa_tui.diagnostics import message
from globa_tui.jobs.evaluation.data import read_data
from globa_tui.jobs.loadable import require_loadable
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.results import SweepJournal, read_results
from globa_tui.jobs.texts import draw
from store.errors import StoreError
from tests.cli.records import Result, call
from tests.evaluation.questions import MODELS, write_rows, write_text
from tests.trust import mutate
from tests.trust.scale import SOAK, note, rounds
from tests.trust.test_neutral import HOSTILE, neutral, said

pytestmark = [pytest.mark.timeout(3000), pytest.mark.xdist_group("running")]

some = settings(
    max_examples=rounds(60, 1500),
    deadline=None,
    derandomize=not SOAK,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def foreseen(read: Callable[[], object]) -> None:
    """It returns, or raises what the program foresaw, in one printable line."""
    try:
        read()
    except Exception as error:
        text = message(error)
        if "--debug shows where" in text or not text.isprintable():
            raise


class Folder:
    """A copy of a small model whose files may be changed, and a text."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model"
        shutil.copytree(MODELS / "math", self.path)
        self.outside = folder / "outside"
        shutil.copytree(MODELS / "code", self.outside)
        self.text = write_text(folder / "text.txt", 200)

    def change(self, file: str, **values: Any) -> None:
        path = self.path / file
        held = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**held, **values}))

    def evaluate(self, *words: object) -> Result:
        return call("evaluate", str(self.path), "--data", str(self.text), "--window", "64", "--quiet", *map(str, words))

    def represent(self) -> Result:
        models = [str(MODELS / "base"), str(self.path), str(MODELS / "math")]
        return call("represent", *models, "--data", str(self.text), "--samples", "1", "--quiet")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


HOSTILE_CONFIGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "code of the Hub": ("config.json", {"attn_implementation": "evil/kernel"}, "evil/kernel"),
    "code for a part": ("config.json", {"x": {"_attn_implementation": {"text": "evil/k@main:f"}}}, "evil/k@main:f"),
    "endless": ("config.json", {"num_hidden_layers": 10**9}, "1,000,000,000 layers"),
    "endless experts": ("config.json", {"text_config": {"num_experts": 10**7}}, "10,000,000 layers or experts"),
    "another model": ("adapter_config.json", {"base_model_name_or_path": "OUT", "peft_type": "LORA"}, "another model"),
}


@pytest.mark.parametrize("command", ["evaluate", "represent"])
@pytest.mark.parametrize("name", HOSTILE_CONFIGS)
def test_a_config_that_leads_elsewhere_is_refused(folder: Folder, name: str, command: str) -> None:
    file, values, words = HOSTILE_CONFIGS[name]
    folder.change(file, **{key: str(folder.outside) if value == "OUT" else value for key, value in values.items()})
    found = getattr(folder, command)()
    assert found.code == 1
    assert words in said(found) + found.err
    assert found.err.count("\n") == 1
    note(command, f"config.json: {name}", "refused, one line")


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_link_out_of_the_folder_is_refused(folder: Folder, file: str) -> None:
    (folder.path / file).unlink()
    (folder.path / file).symlink_to(folder.outside / file)
    for found in (folder.evaluate(), folder.represent()):
        assert found.code == 1
        assert "is a link out of its folder" in found.err
    note("evaluate", f"link out of the model as {file}", "refused, one line")


def test_a_model_that_is_as_it_should_be_is_run(folder: Folder) -> None:
    require_loadable(folder.path)
    folder.change("config.json", _attn_implementation="eager")
    assert folder.evaluate().code == 0
    require_loadable(folder.path, trust_remote_code=True)
    folder.change("config.json", attn_implementation="evil/kernel")
    with pytest.raises(StoreError, match="names code of the Hub"):
        require_loadable(folder.path)
    require_loadable(folder.path, trust_remote_code=True)


@pytest.mark.parametrize("auto", ["evil.Model", "evil/repo--evil.Model", "../evil.Model"])
def test_code_beside_a_model_is_not_run(folder: Folder, auto: str) -> None:
    """Known architectures run as ever, without the folder's own code."""
    (folder.path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(folder.text)!r}).unlink()\n")
    folder.change("config.json", auto_map={"AutoConfig": auto, "AutoModelForCausalLM": auto, "AutoModel": auto})
    folder.change("tokenizer_config.json", auto_map={"AutoTokenizer": [auto, auto]})
    for found in (folder.evaluate(), folder.represent()):
        assert found.code == 0, found.err
    assert folder.text.exists()
    note("evaluate", "code beside the model", "not run")


@pytest.mark.parametrize("text", [HOSTILE[0], HOSTILE[2], HOSTILE[9], HOSTILE[12]])
def test_names_of_models_and_data_are_neutral(tmp_path: Path, text: str) -> None:
    """In tables, in CSV that a spreadsheet opens, and in errors."""
    place = tmp_path / text.replace("/", "\u2044")
    shutil.copytree(MODELS / "math", place)
    data = write_text(tmp_path / f"{place.name}.txt", 100)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        words = ["evaluate", f"./{place.name}", "--data", data.name, "--window", "64", "--quiet"]
        table, sheet = call(*words), call(*words, "--csv")
        missing = call("evaluate", f"./{place.name}/none", "--data", f"{data.name}x")
    finally:
        os.chdir(before)
    assert table.code == sheet.code == 0, table.err
    said(table)
    for row in csv.reader(io.StringIO(said(sheet))):
        assert not any(cell.startswith(("=", "+", "@", "-", "\t")) for cell in row), row
    assert missing.code in (1, 2)
    neutral(missing.err)


ROWS = [
    {"prompt": "1+1=", "answer": "2", "stop": ["\n"]},
    {"prompt": "2+2=", "choices": ["3", "4"], "answer": 1},
    {"messages": [{"role": "user", "content": "hello"}], "text": "a"},
]


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_changed_data(tmp_path: Path, row: int) -> None:
    path = write_rows(tmp_path / "data.jsonl", [])

    @some
    @given(line=mutate.of_json(ROWS[row]))
    def check(line: bytes) -> None:
        path.write_bytes(line + b"\n" + json.dumps(ROWS[row]).encode())
        foreseen(lambda: read_data(str(path)))
        foreseen(lambda: draw([path], 2, 0))
        note("evaluate, represent", "changed data.jsonl", "read, or one line")

    check()


def test_a_changed_journal_of_evaluations(folder: Folder, tmp_path: Path) -> None:
    """What cannot be a measurement is measured again, or left out."""
    store = tmp_path / "r.globa"
    assert folder.evaluate("--store", store).code == 0
    journal = store / "evaluations.jsonl"
    record = json.loads(journal.read_text())

    @settings(some, max_examples=rounds(6, 300))
    @given(line=mutate.of_json(record), words=st.sampled_from([[], ["--json"], ["--csv"]]))
    def check(line: bytes, words: list[str]) -> None:
        journal.write_bytes(line + b"\n")
        found = folder.evaluate("--store", store, *words)
        assert found.code in (0, 1, 4), found
        assert "--debug shows where" not in found.err, found.err
        if words != ["--json"]:
            said(found)
        note("evaluate", "changed evaluations.jsonl", "measured, or one line")

    check()


def test_a_changed_journal_of_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "a.jsonl"
    journal = SweepJournal(path, {"tasks": [{"name": "sums", "metric": "accuracy"}]})
    journal.add_reference("ft1", {"sums": {"accuracy": 0.5}})
    journal.add(Candidate(Coefficients(dict.fromkeys(PATTERNS, 1.0))), {"sums": {"accuracy": 0.4}}, seconds=1.0)
    lines = path.read_text().splitlines()
    assert len(lines) == 3

    @some
    @given(place=st.integers(0, 2), data=st.data())
    def check(place: int, data: st.DataObject) -> None:
        changed = data.draw(mutate.of_json(json.loads(lines[place])))
        path.write_bytes(b"\n".join([changed if n == place else line.encode() for n, line in enumerate(lines)]) + b"\n")

        def read() -> None:
            found = read_results(path)
            if found is not None:
                assert found.best is None or found.best.score >= 0
                assert found.front is not None

        foreseen(read)
        note("sweep", "changed journal", "read, or left out")

    check()
