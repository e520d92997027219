"""`represent` on the demo family, and what `show` and `pack` make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.family import DATA, MODELS
from tests.cli.records import call, make_run

FAMILY = tuple(str(MODELS / name) for name in ("base", "math", "code", "prose"))
TEXTS = tuple(str(DATA / f"{name}.txt") for name in ("math", "code", "prose"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("runs") / "r.globa")
    line = ["represent", *FAMILY, "--data", *TEXTS, "--samples", "2", "--max-tokens", "48", "--store", folder]
    result = call(*line, "--select", "2", "--budget", "1")
    assert result.code == 0, result.err
    assert result.err.splitlines()[-1].startswith("representations  100 %")
    assert result.out.splitlines()[0].split() == ["fine-tune", "from", "base", "relative", "mean", "HiddenSim", "MDS"]
    assert "Merge 2 code, 3 prose: worst MDS 1 within the group." in result.out
    assert "Distortion of 1 or less: no merge can" in result.out
    assert "inputs have 48 tokens or more and were cut." in result.out
    return folder


def test_json_and_show_agree(run: str) -> None:
    line = ["represent", *FAMILY, "--data", *TEXTS, "--samples", "2", "--max-tokens", "48", "--store", run, "--json"]
    result = call(*line, "--quiet")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert [model["reused"] for model in document["models"]] == [True] * 4
    assert [file["unit"] for file in document["inputs"]["files"]] == ["line", "paragraph", "line"]
    assert document["inputs"]["count"] == 6
    assert json.loads(call("show", run, "--representation", "--json").out) == document
    assert "1 math - 2 code" in call("show", run, "--representation").out


def test_two_models_have_a_distance_and_no_similarity(run: str, tmp_path: Path) -> None:
    line = ["represent", *FAMILY[:3], "--data", TEXTS[0], "--samples", "2", "--quiet"]
    result = call(*line)
    assert result.code == 0
    assert "it would be 0/0. Judge the distance itself, or add a fine-tune." in result.out
    document = json.loads(call(*line, "--json").out)["last"]
    assert (document["hidden_sim"], document["mds"]) == (None, None)
    assert document["distance"][0][1] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--samples", "0"), "--samples is 0; it is 1 at least"),
        (("--position", "first"), "--position is 'first'; choose last or mean"),
        (("--dtype", "int8"), "--dtype is 'int8'; choose auto, float32, bfloat16 or float16"),
        (("--select", "4"), "--select is 4; of 3 fine-tunes 2 to 3 can be chosen"),
        (("--budget", "-1"), "--budget is -1.0; a distortion is 0 or more"),
        (("--data", "nowhere.txt"), "nowhere.txt: cannot be read: No such file"),
    ],
)
def test_bad_settings_are_usage(options: tuple[str, ...], said: str) -> None:
    result = call("represent", *FAMILY, "--data", TEXTS[0], *options)
    assert result.code == 2
    assert said in result.err


def test_show_without_any_says_how_to_make_some(tmp_path: Path) -> None:
    run = str(make_run(tmp_path))
    assert json.loads(call("show", run, "--json").out)["representation"] is None
    result = call("show", run, "--representation")
    assert result.code == 4
    assert "make them with `globa-tui represent" in result.err


@pytest.mark.parametrize("text", ["{", "[]", '{"models": []}', '{"models": [1, 2], "position": "last", "last": {}}'])
def test_a_damaged_result_is_one_line(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path)
    (run / "representation").mkdir()
    (run / "representation" / "result.json").write_text(text)
    result = call("show", str(run), "--representation")
    assert (result.code, result.err.count("\n"), result.out) == (4, 1, "")
