"""What goes wrong is told with its cause and a key; terminals with few signs get plain ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from globa_tui.jobs.protocol import write_status
from globa_tui.tui.plain import AsciiFilter, as_ascii, wants_ascii
from globa_tui.tui.status import _WORDS
from tests.tui.driving import opened, press, screen_text, settle
from tests.tui.fake_run import make_status


@pytest.mark.parametrize("size", [(80, 24), (60, 15)])
async def test_a_failed_job_is_told_on_every_screen(partial_run: Path, size: tuple[int, int]) -> None:
    make_status(partial_run, "failed", message="CUDA out of memory; 2 GB are missing")
    async with opened(partial_run, size) as (_, pilot):
        for key in ("1", "3", "4", "5"):
            text = " ".join((await press(pilot, key)).split())
            assert "✖ analysis failed: CUDA out of memory" in text
            assert "R resumes" in text
        assert "last good layer" in text


async def test_a_dead_job_and_a_dead_merge_are_told(partial_run: Path) -> None:
    write_status(partial_run, replace(make_status(partial_run, "running"), pid=4_000_000))
    async with opened(partial_run) as (app, pilot):
        assert "✖ analysis is gone without a word: killed, or out of memory" in screen_text(app)
        make_status(partial_run, "failed", kind="merge", message="disk full")
        await settle(pilot)
        assert "✖ merge failed: disk full" in screen_text(app)
        make_status(partial_run, "running", kind="merge")
        make_status(partial_run, "running")
        await settle(pilot)
        assert "✖" not in screen_text(app)


async def test_retry_is_a_key_everywhere(partial_run: Path) -> None:
    async with opened(partial_run) as (_, pilot):
        for key in ("1", "3", "4"):
            assert "Resume the analysis of models/llama-base" in await press(pilot, key, "R")
            await press(pilot, "n")


async def test_a_damaged_run_is_shown_as_it_was(partial_run: Path) -> None:
    async with opened(partial_run) as (app, pilot):
        whole = (partial_run / "run.json").read_bytes()
        (partial_run / "run.json").write_bytes(whole[:100])
        await settle(pilot)
        text = screen_text(app)
        assert "! shown as of " in text
        assert app.as_of.count(":") == 2
        assert "14/23" in text
        assert "L0 self_attn.q_proj" in await press(pilot, "3")
        (partial_run / "run.json").write_bytes(whole)
        await settle(pilot)
        assert "shown as of" not in screen_text(app)


def test_signs_have_plain_ones_of_their_width() -> None:
    assert {word: as_ascii(sign) for sign, word, _ in _WORDS.values()} == {
        "NO JOB": "o", "STARTING": "~", "RUN": "*", "PAUSING": "~", "PAUSED": "|", "CANCELLING": "~", "CANCELLED": "#",
        "DONE": "+", "FAILED": "x", "DIED": "x", "LOST": "?",
    }  # fmt: skip
    assert as_ascii("╭─│ █▌▏ ⣿ 名é") == "+-| ##| . ???"


def test_the_filter_leaves_styles_alone() -> None:
    style = Style(bold=True)
    assert AsciiFilter().apply([Segment("✔ a", style)], Color(0, 0, 0)) == [Segment("+ a", style)]


@pytest.mark.parametrize(
    ("colours", "encoding", "wanted"),
    [("truecolor", "utf-8", False), ("256", "UTF8", False), ("standard", "utf-8", True), ("256", "latin-1", True),
     (None, "utf-8", False), ("256", None, True)],
)  # fmt: skip
def test_which_terminals_get_plain_signs(
    monkeypatch: pytest.MonkeyPatch, colours: str | None, encoding: str | None, wanted: bool
) -> None:
    monkeypatch.delenv("GLOBA_TUI_ASCII", raising=False)
    assert wants_ascii(colours, encoding) is wanted
    monkeypatch.setenv("GLOBA_TUI_ASCII", "1")
    assert wants_ascii(colours, encoding)
