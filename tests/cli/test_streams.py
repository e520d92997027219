"""Standard streams that are closed or full, as under services and schedulers: jobs run, and runs are not blamed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.models import write_family


def shell(words: str, redirected: str) -> subprocess.CompletedProcess[str]:
    """Run a command through a shell, which closes streams before it begins."""
    line = f"exec {sys.executable} -m globa_tui {words} {redirected}"
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis that was made with all three streams closed."""
    folder = tmp_path_factory.mktemp("closed")
    models = " ".join(write_family(folder / "models"))
    done = shell(f"analyze {models} --store {folder / 'r.globa'}", "<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "r.globa"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_merge_is_the_same_whatever_is_closed(run: Path, tmp_path: Path, closed: str) -> None:
    for out, redirected in (("plain", ""), ("closed", closed)):
        assert shell(f"merge {run} -o {tmp_path / out}", redirected).returncode == 0
    files = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert sorted(path.name for path in (tmp_path / "closed").iterdir()) == files
    for name in files:
        assert (tmp_path / "closed" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_what_is_said_does_not_come_out_elsewhere(run: Path) -> None:
    assert shell(f"show {run}", ">&-").returncode == 0
    missing = shell(f"show {run.parent / 'nope'} --json", "2>&-")
    assert (missing.returncode, missing.stdout) == (4, "")
    table = shell(f"show {run}", "2>&-")
    assert (table.returncode, "globa-tui:" in table.stdout) == (0, False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", ["show {run} --json", "status {run}"])
def test_no_room_for_what_is_printed_is_named(run: Path, words: str) -> None:
    done = shell(words.format(run=run), ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "globa-tui: stdout: No space left on device"
