"""Names and paths of strangers are shown, never obeyed: by terminals, spreadsheets, browsers, readers of YAML."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import unicodedata
from pathlib import Path

import pytest
import torch
import yaml

from globa_tui.coefficients import PATTERNS, Coefficients
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.results import SweepJournal
from tests.cli.records import Result, call
from tests.store import make
from tests.trust.command import Zygote
from tests.trust.test_interface_killed import Terminal

pytestmark = pytest.mark.xdist_group("trust")

HOSTILE = [
    "\x1b]0;owned\x07\x1b[2J",
    "\x9b31mred",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "+1+1",
    "-1+1",
    "\tstart",
    "[bold red]markup[/]",
    "[link=https://evil]x[/link]",
    "\u202egnp.exe\u2066",
    "\u200bhidden\ufeff",
    "\U000e0041tag",
    "two\nlines\r\nthree",
    "\u2028separator",
    "<script>alert(1)</script>",
    "a|b`c*d_e[f](https://evil)",
    "![x](https://evil/pixel.png)",
    "key: value # comment",
    "'\"quoted\\",
    "%s{0}${HOME}$(id)`id`",
]
NAMES = [f"{text}.{number}.weight" for number, text in enumerate(HOSTILE)]
BAD_FOR_TERMINALS = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def neutral(text: str) -> None:
    """No character that steers a terminal, reorders text, hides itself or breaks a line but the ends of lines."""
    bad = {char for char in text if unicodedata.category(char) in BAD_FOR_TERMINALS and char != "\n"}
    assert not bad, sorted(map(ascii, bad))


def said(result: Result) -> str:
    for line in result.err.splitlines():
        assert line.startswith("globa-tui: "), ascii(line)
    neutral(result.err)
    neutral(result.out)
    return result.out


class Place:
    """A family with hostile tensor names in folders with hostile names, and its analysis."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "\x1b]0;owned\x07[red]\u202e<b>"
        generator = torch.Generator().manual_seed(0)
        base = {name: torch.randn(4, 4, generator=generator) for name in NAMES}
        models = [base] + [{n: w + 0.1 * torch.randn(4, 4, generator=generator) for n, w in base.items()} for _ in "ab"]
        models[2][NAMES[0]][0, 0] = float("nan")
        self.sources = [
            str(make.single(self.folder / f"=m{number}|`", model, {})) for number, model in enumerate(models)
        ]
        self.run = self.folder / "run.globa"
        self.analyzed = call("analyze", *self.sources, "--store", str(self.run), "--json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("neutral"))


def test_an_analysis_says_names_harmlessly(place: Place) -> None:
    lines = [line for line in place.analyzed.err.splitlines() if line.startswith("globa-tui: ")]
    assert place.analyzed.code == 1
    neutral(place.analyzed.err)
    assert r"\x1b]0;owned\x07\x1b[2J" in lines[-1]
    assert json.loads(place.analyzed.out)["failed"] == [NAMES[0]]


def test_tables_and_sheets(place: Place) -> None:
    table = said(call("show", str(place.run)))
    assert len(table.splitlines()) >= len(NAMES) + 1
    for name in NAMES:
        found = call("show", str(place.run), "--layer", name)
        assert found.code == 0
        said(found)
    said(call("status", str(place.run)))
    missing = call("show", str(place.run), "--layer", "\x1b[2Jnone")
    assert missing.code == 2
    said(missing)


@pytest.mark.parametrize(
    "words", [["show", "--findings"], ["show", "--by", "kind"], ["show", "--what-if"], ["suggest"]]
)
def test_what_is_told_of_a_run_is_neutral(place: Place, words: list[str]) -> None:
    found = call(words[0], str(place.run), *words[1:])
    assert found.code == 0, found.err
    assert said(found).strip()
    as_json = call(words[0], str(place.run), *words[1:], "--json").out
    assert as_json.isascii()
    json.loads(as_json)


@pytest.mark.parametrize("more", [[], ["--by", "kind"], ["--what-if"]])
def test_no_cell_of_a_spreadsheet_is_a_formula(place: Place, more: list[str]) -> None:
    text = said(call("show", str(place.run), "--csv", *more))
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == len(NAMES) + 1 if not more else len(rows) > 1
    for row in rows[1:]:
        for cell in row:
            assert not cell.startswith(("=", "+", "@", "\t", "\r")), cell
            assert not cell.startswith("-") or re.fullmatch(r"-[\d.e+-]+", cell), cell


@pytest.mark.parametrize("command", ["show", "status"])
def test_json_is_ascii_and_whole(place: Place, command: str) -> None:
    """Programs get the names as they are; a terminal that shows the text gets nothing but ASCII."""
    text = call(command, str(place.run), "--json").out
    assert text.isascii()
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    document = json.loads(text)
    if command == "show":
        assert [layer["name"] for layer in document["layers"]] == sorted(NAMES) or {
            layer["name"] for layer in document["layers"]
        } == set(NAMES)


def test_a_card_and_a_recipe(place: Place) -> None:
    out = place.folder / "out"
    words = [f"layer {name}:A=0.5" for name in NAMES[2:]]
    coefficients = [word for text in words for word in ("--coef", text)]
    merged = call("merge", str(place.run), "-o", str(out), "--allow-failed", *coefficients, "--quiet")
    assert merged.code == 0, merged.err
    said(merged)
    card = (out / "README.md").read_text()
    neutral(card)
    outside_code = re.sub(r"`[^`\n]*`", "", card)
    for dangerous in ("<script", "<b>", "](http", "![", "owned", "red]"):
        assert dangerous not in outside_code, dangerous
    assert all(line.count("|") - line.count("\\|") in (0, 3, 4) for line in card.splitlines())
    assert yaml.safe_load(card.split("---")[1])["tags"] == ["merge", "globa-tui"]
    recipe = (out / "globa_recipe.yaml").read_text()
    neutral(recipe)
    again = call(
        "merge", str(out / "globa_recipe.yaml"), "-o", str(place.folder / "again"), "--allow-failed", "--quiet"
    )
    assert again.code == 0, again.err
    name = "model.safetensors"
    assert (out / name).read_bytes() == (place.folder / "again" / name).read_bytes()
    shown = call("merge", str(place.run), "-o", str(place.folder / "dry"), "--dry-run", *coefficients, "--allow-failed")
    assert shown.code == 0
    neutral(shown.out)
    neutral(shown.err)


@pytest.mark.parametrize("name", NAMES[:8])
def test_errors_name_what_is_missing_harmlessly(place: Place, tmp_path: Path, name: str) -> None:
    for words in (
        ["analyze", name, name, name, "--store", str(tmp_path / "r")],
        ["show", name],
        ["merge", f"{name}.yaml", "-o", str(tmp_path / "o")],
        ["merge", str(place.run), "-o", str(tmp_path / "o"), "--coef", f"layer {name}x:A=1"],
        ["merge", str(place.run), "-o", str(tmp_path / "o"), "--method", name],
        ["pack", str(place.run), str(tmp_path / name)],
        ["analyze", *place.sources, "--store", str(tmp_path / "r"), "--include", f"{name}("],
        ["analyze", *place.sources, "--store", str(tmp_path / "r"), "--device", name],
    ):
        result = call(*words)
        assert result.code in (1, 2, 4), (words, result)
        neutral(result.err)
        assert "Traceback" not in result.err


def write_sweep(run: Path) -> None:
    """A sweep whose tasks, metrics and reasons are all hostile."""
    journal = SweepJournal(run / "sweeps" / "a.jsonl", {"tasks": [{"name": t, "metric": t} for t in HOSTILE]})
    for number, text in enumerate(HOSTILE):
        candidate = Candidate(Coefficients({**dict.fromkeys(PATTERNS, 1.0), "A": number / 10}))
        journal.add(candidate, {task: {task: 0.5} for task in HOSTILE}, why=text, search=text)


def test_the_interface_shows_names_harmlessly(place: Place, interface: Zygote, tmp_path: Path) -> None:
    run = tmp_path / "run.globa"
    shutil.copytree(place.run, run)
    write_sweep(run)
    terminal = Terminal()
    command = interface.start(tmp_path, "open", run, terminal=terminal.name, environment={"TERM": "xterm-256color"})
    terminal.wait_for(b"Overview")
    for key in (b"3", b"jjjj", b"\r", b"4", b"5"):
        terminal.type(key)
        terminal.wait_for(b"Layers")
    terminal.type(b"6")
    terminal.wait_for(b"Pareto front")
    terminal.wait_for(rb"u202egnp")
    terminal.type(b"q")
    command.wait(20)
    terminal.close()
    for dangerous in ("]0;owned\x07", "\x1b[2Jw", "\u202e", "\u2066", "\u200b", "\x9b31m", "]8;"):
        assert dangerous.encode() not in terminal.shown, ascii(dangerous)
