"""The screen of sweeps: nothing, candidates with their front, and one of them as the recipe."""

from __future__ import annotations

from pathlib import Path

from globa_tui.coefficients import PATTERNS, Coefficients
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.tui.screens.sweep import SweepScreen
from globa_tui.tui.widgets.row_table import RowTable
from globa_tui.tui.widgets.scatter import scatter
from store.run.journal import append_journal
from tests.tui.driving import opened, press

SHARES = ((0.9, 0.2), (0.5, 0.5), (0.4, 0.4), (0.2, 0.9))


def candidate(number: int) -> Candidate:
    return Candidate(
        Coefficients({**dict.fromkeys(PATTERNS, 1.0), "A": number / 10}), eta=(0.5, 0.5) if number == 3 else None
    )


def write_journal(run: Path) -> None:
    path = run / "sweeps" / "abc.jsonl"
    tasks = [{"name": name, "metric": "accuracy"} for name in ("math\x1b[2J", "code")]
    append_journal(path, {"format": 1, "tasks": tasks, "purpose": "tune"})
    append_journal(path, {"reference": "fine-tune 1", "values": {task["name"]: {"accuracy": 1.0} for task in tasks}})
    for number, shares in enumerate(SHARES):
        values = {task["name"]: {"accuracy": share} for task, share in zip(tasks, shares, strict=True)}
        append_journal(path, {"candidate": candidate(number).to_dict(), "values": values, "why": f"try {number}"})


async def test_without_a_sweep_it_says_how_to_make_one(whole_run: Path) -> None:
    async with opened(whole_run) as (_, pilot):
        text = await press(pilot, "6")
        assert "No sweep was made" in text
        assert "globa-tui sweep" in text


async def test_candidates_are_listed_and_one_becomes_the_recipe(whole_run: Path) -> None:
    write_journal(whole_run)
    async with opened(whole_run, (100, 30)) as (app, pilot):
        text = await press(pilot, "6")
        assert isinstance(app.screen, SweepScreen)
        assert app.screen.query_one("#trials", RowTable).rows == [2, 3, 1, 4]
        assert "0.500    0.500 try 1" in " ".join(text.split(" ")) or "try 1" in text
        assert "\x1b" not in text
        assert text.count("o") > 3
        await press(pilot, "enter")
        assert app.current_mode == "recipe"
        assert app.editor is not None
        assert app.editor.recipe.coefficients == candidate(1).coefficients
        # One with an η of its own cannot be merged from the run: it is refused with what to do.
        refused = await press(pilot, "6", "G", "enter")
        assert app.current_mode == "sweep"
        assert "--recipe" in refused


def test_points_are_where_they_belong() -> None:
    points = dict(enumerate(SHARES))
    lines = scatter(points, {0, 1, 3}, 1, (26, 13), ("math", "code")).plain.splitlines()
    marks = [
        (line.index(mark, 6) - 6, row)
        for row, line in enumerate(lines)
        for mark in "o#."
        if mark in line[6:] and row < 11
    ]
    assert marks == [(0, 1), (8, 6), (5, 8), (19, 10)]
    assert lines[0] == "code"
    assert lines[-1].split() == ["0.20", "0.90", "math"]
    assert scatter({}, set(), None, (20, 9), ("a", "b")).plain == ""
    assert "#" in scatter({7: (0.5, 0.5)}, {7}, 7, (20, 9), ("a", "b")).plain
