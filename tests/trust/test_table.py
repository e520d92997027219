"""The page on reliability shows what was measured."""

from __future__ import annotations

import json

from tests.trust.table import BEGIN, END, PAGE, RESULTS, add_up, page, renewed


def test_the_page_is_made_from_the_results() -> None:
    text = PAGE.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert page(text, json.loads(RESULTS.read_text())) == text


def test_notes_are_added_up(tmp_path) -> None:
    notes = tmp_path / "notes.jsonl"
    one = {"operation": "pack", "fault": "EIO at write", "outcome": "one line, exit 1; resumed", "times": 2}
    notes.write_text("".join(json.dumps({**one, **more}) + "\n" for more in ({}, {"times": 3}, {"outcome": "x"})))
    (row,) = add_up(notes)
    assert row["outcomes"] == {"one line, exit 1; resumed": 5, "x": 2}
    assert "| EIO at write | pack | 7 |" in page(BEGIN + END, [row])


def test_rows_that_the_notes_say_nothing_about_stay() -> None:
    def row(fault: str, times: int) -> dict[str, object]:
        return {"operation": "pack", "fault": fault, "outcomes": {"x": times}}

    assert renewed([row("a", 1), row("b", 1)], [row("b", 2), row("c", 2)]) == [row("a", 1), row("b", 2), row("c", 2)]
