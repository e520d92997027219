from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tui.fake_run import make_run


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the developer's own terminal, and a working folder of the test's own."""
    for name in ("NO_COLOR", "SSH_CONNECTION", "TEXTUAL_FPS", "TEXTUAL_ANIMATIONS", "TEXTUAL_THEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that tests copy, for writing one syncs every layer to the disk."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "partial.globa", blocks=3, done=0.6)
    make_run(folder / "whole.globa", blocks=3, done=1.0)
    return folder


@pytest.fixture
def partial_run(tmp_path: Path, templates: Path) -> Path:
    """26 tensors: 14 analysed, one failed, one skipped, eight to be analysed, two more to be skipped."""
    return Path(shutil.copytree(templates / "partial.globa", tmp_path / "partial.globa"))


@pytest.fixture
def whole_run(tmp_path: Path, templates: Path) -> Path:
    """26 tensors, all dealt with, one of them failed."""
    return Path(shutil.copytree(templates / "whole.globa", tmp_path / "whole.globa"))
