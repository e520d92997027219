"""Every command has help, an example that parses, and a place in the README."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from globa_tui.cli.app import app
from globa_tui.jobs.settings import AnalysisSettings
from globa_tui.presets import ANALYSIS_PRESETS, MERGE_PRESETS
from globa_tui.recipe import DEFAULT_SHARD_SIZE, format_size
from tests.cli.records import call

GROUP: Any = get_command(app)
README = Path(__file__).parent.parent / "README.md"


def _example(command: str) -> list[str]:
    _, _, block = call(command, "--help").out.partition("Example:\n")
    return [line.strip() for line in block.strip().splitlines()]


@pytest.mark.parametrize("command", sorted(GROUP.commands))
def test_help_ends_with_an_example_that_parses(command: str) -> None:
    text = call(command, "-h").out
    assert text == call(command, "--help").out
    assert GROUP.commands[command].help
    assert all(option.help for option in GROUP.commands[command].params), "every option says what it does"
    lines = _example(command)
    assert lines
    for line in lines:
        program, name, *words = shlex.split(line.partition(" | ")[0])
        assert (program, name in GROUP.commands) == ("globa-tui", True)
        GROUP.commands[name].make_context(name, words)


@pytest.mark.skipif(README.stat().st_size < 1000, reason="the README is not written yet")
@pytest.mark.parametrize("command", sorted(GROUP.commands))
def test_readme_has_the_command(command: str) -> None:
    assert f"globa-tui {command}" in README.read_text(encoding="utf-8")


def test_the_list_of_commands_is_whole_at_80_columns() -> None:
    assert "..." not in call("--help").out.partition("Commands:")[2]


def test_help_tells_the_true_defaults() -> None:
    """Defaults and presets that are written into the help by hand are those of the code."""
    settings = AnalysisSettings()
    for command in ("analyze", "inspect"):
        words = " ".join(call(command, "--help").out.split())
        energies = ",".join(f"{value:.2f}" for value in settings.svd_energy)
        etas = ",".join(f"{value:.2f}" for value in settings.eta)
        assert f"[default: {energies}]" in words
        assert f"[default: {etas}]" in words
        for value in (settings.basis_energy, settings.basis, settings.anchor, settings.device, settings.precision):
            assert f"[default: {value}]" in words
        assert all(preset.replace("-", "") in words.replace("-", "").replace(" ", "") for preset in ANALYSIS_PRESETS)
    merge = "".join(call("merge", "--help").out.split())
    assert all(preset in merge for preset in MERGE_PRESETS)
    assert f"[default:{format_size(DEFAULT_SHARD_SIZE)}]" in merge
