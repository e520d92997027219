"""Writing to a file what a screen shows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from globa_tui.tui.exports import export_text
from globa_tui.tui.metrics import BY_KEY
from tests.tui.driving import opened, press
from tests.tui.fake_run import layers, record


def test_every_number_is_there_unrounded() -> None:
    records = [record(layer) for layer in layers(1) if layer["role"] == "matrix"]
    rows = list(csv.DictReader(export_text(Path("x.csv"), records).splitlines()))
    assert [row["name"] for row in rows] == [found["name"] for found in records]
    for row, found in zip(rows, records, strict=True):
        for key in ("overlap", "share.D-", "conflict.sign"):
            assert float(row[key]) == BY_KEY[key].value(found), key
        assert [float(row[f"size.{task}"]) for task in (1, 2)] == found["relative_size"]
        assert row["shape"] == "x".join(map(str, found["shape"]))
    assert json.loads(export_text(Path("x.JSON"), records)) == json.loads(json.dumps(records))


@pytest.mark.parametrize("name", ["=1", " =1", "\u00a0@x", "\uff1d1", "\uff0b1", "-x", "\t=1"])
def test_a_name_is_no_formula_however_it_begins(name: str) -> None:
    row = next(csv.DictReader(export_text(Path("x.csv"), [{**layers(1)[0], "name": name}]).splitlines()))
    assert row["name"].startswith("'")


def test_names_cannot_become_formulas_and_unknown_is_empty() -> None:
    evil = {**layers(1)[0], "name": "=HYPERLINK(1)", "status": "failed", "error": "NaN\nat row 3"}
    row = next(csv.DictReader(export_text(Path("x.csv"), [evil]).splitlines()))
    assert row["name"] == "'=HYPERLINK(1)"
    assert row["overlap"] == ""
    assert json.loads(export_text(Path("x.json"), [{**evil, "seconds": float("nan")}]))[0]["seconds"] is None


async def test_the_rows_of_the_table_in_their_order(whole_run: Path, tmp_path: Path) -> None:
    async with opened(whole_run) as (app, pilot):
        await press(pilot, "3", "slash", *"mlp", "enter", "s")
        shown = [app.model.records[index]["name"] for index in app.screen.rows_shown()]  # type: ignore[attr-defined]
        assert "Write 9 layers to the file" in await press(pilot, "X")
        text = await press(pilot, "enter")
        assert "Written to" in text
        assert [row["name"] for row in csv.DictReader((tmp_path / "layers.csv").read_text().splitlines())] == shown
        assert "is already there. Replace it?" in await press(pilot, "X", "enter")
        await press(pilot, "escape", "escape", "1", "3", "enter", "X", "enter")
        assert json.loads((tmp_path / "layer.json").read_text())[0]["name"] == app.screen.record["name"]  # type: ignore[attr-defined]


async def test_an_unwritable_place_is_told(whole_run: Path) -> None:
    async with opened(whole_run) as (_, pilot):
        text = await press(pilot, "2", "X", *["backspace"] * 10, *"no/where.csv", "enter")
        assert "no/where.csv" in text
        assert "Written" not in text
