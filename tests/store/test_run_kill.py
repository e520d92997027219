"""SIGKILL at any moment loses no layer that was said to be written, and leaves no half of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def crash(folder: Path, *arguments: str) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.store.run_crash", str(folder), *arguments]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_kill_at_every_access_to_the_disk(tmp_path: Path) -> None:
    """Also between the rename and the line of the summary, where a layer is there though nobody was told."""
    seen = crash(tmp_path, "points")
    assert seen["killed"] > 50
    assert seen["unsaid"] > 5


def test_kill_at_random_moments(tmp_path: Path) -> None:
    seen = crash(tmp_path, "random", "12")
    assert seen["killed"] == 12
    assert seen["layers"] > 5
