"""When a process started, told by each kind of system."""

import os
import subprocess
from pathlib import Path

import pytest

from store import process


def test_a_process_that_ended_has_no_start() -> None:
    with subprocess.Popen(["sleep", "60"]) as running:
        assert process.start_time(running.pid) is not None
        running.kill()
    assert process.start_time(running.pid) is None
    assert process.start_time(0) is process.start_time(-1) is process.start_time(2**70) is None


def test_a_system_without_proc_asks_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_PROC", tmp_path)
    assert process.pid_namespace() == ""
    started = process.start_time(os.getpid())
    assert started is not None
    assert process.start_time(os.getpid()) == started
    with subprocess.Popen(["true"]) as ended:
        pass
    assert process.start_time(ended.pid) is None


def test_a_process_that_hides_is_there_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems hide the processes of others; that they exist can still be asked."""

    def hidden(*_: object, **__: object) -> str:
        raise PermissionError

    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").touch()
    monkeypatch.setattr(process, "_PROC", tmp_path)
    assert process.start_time(os.getpid()) == process.UNKNOWN
    monkeypatch.setattr(Path, "read_text", hidden)
    assert process.start_time(os.getpid()) == process.UNKNOWN
