"""A writer that is killed leaves no OUT, and what it leaves is cleared away by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from store import process
from store.errors import OutputExistsError, StoreError
from store.merged import MergedWriter, OutputTensor, plan_output
from store.merged.owner import OWNER_FILE, is_abandoned, write_owner
from tests.store import make

PLAN = plan_output([OutputTensor("w", "F32", (0,))], 100)
"""Empty tensors need no torch, so that the killed processes start quickly."""

PROGRAM = """
import os, signal, sys
from pathlib import Path
from store import files
from store.merged import MergedWriter, OutputTensor, plan_output

class Empty:
    dtype, shape = "torch.float32", (0,)

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

out, moment = Path(sys.argv[1]), sys.argv[2]
writer = MergedWriter(out, plan_output([OutputTensor("w", "F32", (0,))], 100), overwrite=True)
writer.write("w", Empty())
writer.add_text("config.json", "new")
real = files.rename
def rename(source, target):
    if moment == "before the swap": die()
    real(source, target)
    if moment == "within the swap" or source.name.startswith(".out.tmp-"): die()
if moment == "while writing": die()
files.rename = rename
writer.finish()
"""


def killed(out: Path, moment: str) -> None:
    """Write OUT in a process that is killed at some moment."""
    command = [sys.executable, "-c", PROGRAM, str(out), moment]
    done = subprocess.run(command, capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def hidden(folder: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("moment", ["while writing", "before the swap"])
def test_killed_before_the_end_leaves_no_out(tmp_path: Path, moment: str) -> None:
    killed(tmp_path / "out", moment)
    assert not (tmp_path / "out").exists()
    assert hidden(tmp_path) == [".out.tmp"]
    with MergedWriter(tmp_path / "out", PLAN):
        assert len(hidden(tmp_path)) == 1, "the dead process's folder is still there"
    assert not list(tmp_path.iterdir())


def old_output(out: Path) -> Path:
    make.zero_file(out / "model.safetensors", {"w": ("F32", (1,))})
    (out / "config.json").write_text("old")
    return out


@pytest.mark.parametrize(
    ("moment", "left"), [("before the swap", [".out.tmp"]), ("within the swap", [".out.old", ".out.tmp"])]
)
def test_killed_while_replacing_loses_nothing(tmp_path: Path, moment: str, left: list[str]) -> None:
    out = old_output(tmp_path / "out")
    killed(out, moment)
    assert hidden(tmp_path) == left
    with pytest.raises(OutputExistsError):
        MergedWriter(out, PLAN)
    assert (out / "config.json").read_text() == "old"
    assert not hidden(tmp_path)


def test_killed_after_replacing_leaves_the_new_one(tmp_path: Path) -> None:
    out = old_output(tmp_path / "out")
    killed(out, "after the swap")
    assert (out / "config.json").read_text() == "new"
    assert hidden(tmp_path) == [".out.old"]
    with MergedWriter(out, PLAN, overwrite=True):
        pass
    assert not hidden(tmp_path)
    assert (out / "config.json").read_text() == "new"


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    """A living process's folder, one of another output, a file, a link: none of them is ours to remove."""
    living = tmp_path / f".out.tmp-{os.getppid()}"
    living.mkdir()
    for name in (".out2.tmp-999999999", ".out.tmp-", ".out.tmp-1x", "out.tmp-999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / ".out.tmp-999999998").write_text("a file")
    (tmp_path / ".out.tmp-999999997").symlink_to(living)
    (tmp_path / ".out.old-999999996").symlink_to(living)
    before = sorted(tmp_path.iterdir())
    (tmp_path / ".out.tmp-999999999").mkdir()
    with MergedWriter(tmp_path / "out", PLAN):
        pass
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_name_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / ".abc.tmp-999999999").mkdir()
    with MergedWriter(tmp_path / "*", PLAN), MergedWriter(tmp_path / "[a]bc", PLAN):
        pass
    assert hidden(tmp_path) == [".abc.tmp"]


class TestAbandoned:
    """Whether a temporary folder's process is gone."""

    def test_not_while_it_runs(self, tmp_path: Path) -> None:
        write_owner(tmp_path)
        assert not is_abandoned(tmp_path, os.getpid())

    def test_when_its_number_was_given_to_another(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "start_time", lambda pid: 12345.0)
        write_owner(tmp_path)
        monkeypatch.undo()
        assert is_abandoned(tmp_path, os.getpid())

    def test_never_when_it_ran_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "host_name", lambda: "elsewhere")
        write_owner(tmp_path)
        assert not is_abandoned(tmp_path, os.getpid())
        monkeypatch.undo()
        assert not is_abandoned(tmp_path, 999999999)

    @pytest.mark.parametrize("note", [None, "", "[]", "{}"])
    def test_by_its_number_without_a_readable_note(self, tmp_path: Path, note: str | None) -> None:
        if note is not None:
            (tmp_path / OWNER_FILE).write_text(note)
        assert is_abandoned(tmp_path, 999999999)
        assert is_abandoned(tmp_path, os.getpid())
        assert not is_abandoned(tmp_path, os.getppid())


def test_a_stubborn_leftover_of_this_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f".out.tmp-{os.getpid()}").mkdir()
    monkeypatch.setattr("store.merged.place.shutil.rmtree", lambda path, ignore_errors: None)
    with pytest.raises(StoreError, match="is being written right now"):
        MergedWriter(tmp_path / "out", PLAN)
