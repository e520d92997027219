"""Whole screens, size by state, against texts under `snapshots/`; ``GLOBA_TUI_SNAPSHOTS=write`` writes them anew."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.style import Style
from textual.pilot import Pilot

from globa_tui.jobs.protocol import JobStatus, write_status
from globa_tui.tui.app import InspectApp
from globa_tui.tui.plain import as_ascii
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import make_run, make_status

FOLDER = Path(__file__).parent / "snapshots"
SIZES = [(80, 24), (120, 40), (60, 15)]
SCREENS = (
    ("overview", ("1",)),
    ("map", ("2",)),
    ("layers", ("3",)),
    ("layer", ("j", "enter")),
    ("recipe", ("4",)),
    ("merge", ("M",)),
    ("job", ("escape", "5")),
)
"""Screens with the keys from the one before."""


def running(run: Path) -> None:
    make_status(run, "running")


def paused(run: Path) -> None:
    make_status(run, "paused", eta_seconds=None)


def failed(run: Path) -> None:
    make_status(run, "failed", message="CUDA out of memory; 2.1 GB more are needed")


def lost(run: Path) -> None:
    write_status(run, replace(make_status(run, "running"), heartbeat=1.0))


def done(run: Path) -> None:
    make_status(run, "complete", total=23, done=22, failed=1, cost_done=100.0, eta_seconds=None, current=None)


STATES: dict[str, tuple[float, Callable[[Path], None]]] = {
    "empty": (0.0, lambda run: None),
    "running": (0.6, running),
    "paused": (0.6, paused),
    "failed": (0.6, failed),
    "lost": (0.6, lost),
    "done": (1.0, done),
}
ALL_SIZES = ("running", "done")
"""States that are shown on the largest terminal too."""
CASES = [(state, size) for state in STATES for size in SIZES] + [(state, (200, 60)) for state in ALL_SIZES]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    """One run for each share that is done."""
    folder = tmp_path_factory.mktemp("made")
    shares = {share for share, _ in STATES.values()}
    return {share: make_run(folder / f"{share}.globa", blocks=3, done=share) for share in shares}


def steady(text: str) -> str:
    """The text without what differs from one process to the next."""
    for pattern, instead in (
        (r"pid \d+ on \S+", "pid 1 on here"),
        (r"(Output folder) .*", r"\1 PLACE"),
        (r"[\d.]+ .B free", "SPACE free"),
        (r"as of [\d:]{8}: .*", "as of 12:00:00: WHY"),
    ):
        text = re.sub(pattern, instead, text)
    return text


async def pages(pilot: Pilot[Any], size: tuple[int, int]) -> str:
    """Every screen, one below the other."""
    found = []
    for name, keys in SCREENS:
        found.append(f"--- {name} {'-' * (size[0] - len(name) - 5)}\n{steady(await press(pilot, *keys))}\n")
    return "".join(found)


def compare(name: str, found: str) -> None:
    """Compare with the stored text, or store it when asked to."""
    place = FOLDER / f"{name}.txt"
    if os.environ.get("GLOBA_TUI_SNAPSHOTS") == "write":
        FOLDER.mkdir(exist_ok=True)
        place.write_text(found, encoding="utf-8", newline="\n")
    assert found == place.read_text(encoding="utf-8"), f"{place.name} differs; write it anew if it should"


@pytest.mark.parametrize(("state", "size"), CASES, ids=lambda part: part if isinstance(part, str) else part[0])
async def test_screens(
    made: dict[float, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, size: tuple[int, int]
) -> None:
    if state == "lost":
        monkeypatch.setattr(JobStatus, "age", 600.0)
    share, prepare = STATES[state]
    run = Path(shutil.copytree(made[share], tmp_path / "math-code.globa"))
    prepare(run)
    async with opened(run, size) as (_, pilot):
        compare(f"{state}-{size[0]}x{size[1]}", await pages(pilot, size))


async def test_a_damaged_run_and_a_terminal_that_is_too_small(made: dict[float, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(made[0.6], tmp_path / "math-code.globa"))
    async with opened(run) as (app, pilot):
        (run / "run.json").write_text("{")
        await settle(pilot)
        app.clear_notifications()
        compare("damaged-80x24", await pages(pilot, (80, 24)))
        await pilot.resize_terminal(50, 12)
        await settle(pilot)
        compare("small-50x12", screen_text(app))


async def test_a_terminal_with_few_signs(made: dict[float, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(made[0.6], tmp_path / "math-code.globa"))
    running(run)
    async with opened(run) as (app, pilot):
        app.use_ascii()
        stored = as_ascii((FOLDER / "running-80x24.txt").read_text(encoding="utf-8"))
        for name, keys in SCREENS:
            text = steady(await press(pilot, *keys))
            assert text.isascii(), name
            assert name == "map" or text in stored, name


async def test_no_color_says_the_same_in_grey(
    made: dict[float, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = Path(shutil.copytree(made[0.6], tmp_path / "math-code.globa"))
    failed(run)
    async with opened(run, (80, 24)) as (app, _):
        text = screen_text(app)
        assert text in (FOLDER / "failed-80x24.txt").read_text(encoding="utf-8")
        assert colours(app) <= {True}


def colours(app: InspectApp) -> set[bool]:
    """Whether the colours on the screen, after the filters of the terminal, are grey."""
    found = set()
    for strip in app.screen._compositor.render_strips(app.size):
        for filter in app.get_line_filters():
            strip = strip.apply_filter(filter, app.screen.background_colors[1])
        for segment in strip:
            style = segment.style or Style()
            triplets = [colour.triplet for colour in (style.color, style.bgcolor) if colour is not None]
            found |= {len(set(triplet)) == 1 for triplet in triplets if triplet is not None}
    return found
