"""The interface in a real terminal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from globa_tui.recipe import Recipe
from tests.tui.tmux import ROOT, Tmux

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

DEMO = ROOT / "demo" / "models"


def test_open_a_run_change_a_coefficient_undo_and_quit(whole_run: Path, tmp_path: Path) -> None:
    with Tmux(tmp_path) as terminal:
        terminal.run("open", whole_run)
        terminal.wait_for("1 Overview", "llama-base + wizardmath + code", "22 of 23 layers")
        terminal.keys("3")
        text = terminal.wait_for("L0 self_attn.q_proj", "26/26")
        assert len(text.splitlines()) == 24
        assert max(map(len, text.splitlines())) <= 80
        terminal.keys("j", "Enter")
        terminal.wait_for("model.layers.0.self_attn.q_proj.weight", "how far it moved")
        terminal.keys("]", "]")
        terminal.wait_for("singular value by rank", "τ2")
        terminal.keys("4")
        terminal.wait_for("opposite sign", "update norm")
        terminal.keys("j", "Right")
        terminal.wait_for("+0.05", "4 Recipe*")
        terminal.keys("u")
        terminal.wait_for("Undone: A 0 -> 0.05")
        assert "4 Recipe*" not in terminal.text()
        terminal.keys("q")
        terminal.wait_for("LEFT WITH 0")
    assert Recipe.read(whole_run / "recipes" / "current.yaml").coefficients["A"] == 0.0


def test_suspend_and_continue_redraws_everything(whole_run: Path, tmp_path: Path) -> None:
    with Tmux(tmp_path) as terminal:
        terminal.run_in_shell("open", whole_run)
        terminal.wait_for("22 of 23 layers")
        terminal.keys("C-z")
        terminal.wait_for("shell>")
        assert "GLOBA" not in terminal.text()
        terminal.keys("fg", "Enter")
        terminal.wait_for("GLOBA", "Compared", "22 of 23 layers", "Stands out", "q Quit")
        terminal.keys("C-q")


def walk(terminal: Tmux) -> None:
    """Filter, open a layer, aim at one part of the model after the other, change a coefficient, undo it."""
    terminal.keys("3", "/", *"mlp", "Space", *"down", "Enter")
    terminal.wait_for("/mlp down", "4/38")
    terminal.keys("j", "Enter")
    terminal.wait_for("model.layers.1.mlp.down_proj.weight", "relative size")
    terminal.keys("3", "Escape")
    terminal.wait_for("38/38")
    terminal.keys("4", "t")
    terminal.wait_for("target: attn")
    terminal.keys("j", "Right", "Right")
    terminal.wait_for("+0.10*", "1 override, for 16 layers")
    terminal.keys("t")
    terminal.wait_for("target: blocks 0-3")
    terminal.keys("u")
    terminal.wait_for("Undone: ")
    terminal.keys("t")
    text = terminal.wait_for("target: whole model")
    assert "override" not in text


def test_inspect_leave_return_and_merge(tmp_path: Path) -> None:
    """The whole way: start, lose the terminal in the middle of the job, come back, and merge."""
    run, out = tmp_path / "run.globa", tmp_path / "merged"
    models = [DEMO / name for name in ("base", "math", "code")]
    with Tmux(tmp_path) as terminal:
        terminal.run("inspect", *models, "--store", "run")
        terminal.wait_for("base + math + code", "✔ fits")
        terminal.keys("3")
        terminal.wait_for("L0 mlp.down_proj", "..", "38/38")
        terminal.keys("p")
        terminal.wait_for("‖ PAUSED", seconds=120)
        pid = json.loads((run / "jobs" / "analyze.json").read_text())["pid"]
    os.kill(pid, 0)
    with Tmux(tmp_path, (120, 40)) as terminal:
        terminal.run("open", "run")
        terminal.wait_for("‖ PAUSED", "base + math + code")
        terminal.keys("p")
        terminal.wait_for("✔ DONE 29/29", seconds=240)
        walk(terminal)
        terminal.keys("C-q")
        terminal.wait_for("LEFT WITH 0")
    with Tmux(tmp_path) as terminal:
        terminal.run("open", "run")
        terminal.wait_for("✔ DONE 29/29", "29 of 29 layers")
        walk(terminal)
        terminal.keys("4", "g", "j", "Space")
        terminal.wait_for("[x] A ")
        terminal.keys("M")
        terminal.wait_for("✔ ready")
        terminal.keys("C-a", "C-k")
        terminal.wait_for("Name an output folder.")
        terminal.keys("merged")
        terminal.wait_for("Output folder merged", "✔ ready")
        terminal.keys("Enter", "Enter")
        terminal.wait_for("5 Job", "merged 38 tensors", seconds=120)
        terminal.keys("q")
        terminal.wait_for("LEFT WITH 0")
    assert (out / "model.safetensors").stat().st_size > 1_000_000
    assert Recipe.read(out / "globa_recipe.yaml").coefficients["A"] == 1.0
