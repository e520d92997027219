"""The interface as a process: what it imports, what the terminal must be, signals, and silence when idle."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from globa_tui.tui import run_inspect, terminal_trouble
from tests.tui.fake_run import make_status

ROOT = Path(__file__).parents[2]
ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
MOUSE_OFF = b"\x1b[?1003l"


def environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), **more}


class Terminal:
    """A process on a terminal of its own, and every byte that it writes."""

    def __init__(self, *command: str, **more: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, *command], environment(**more))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.seen = b""
        self.code: int | None = None

    def read(self, seconds: float) -> bytes:
        """What is written within that time."""
        end, new = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], left)[0]:
                break
            try:
                got = os.read(self.fd, 65536)
            except OSError:
                break
            if not got:
                break
            new += got
        self.seen += new
        return new

    def read_until(self, wanted: bytes, seconds: float = 40.0) -> None:
        """Read until that was written."""
        end = time.monotonic() + seconds
        while wanted not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            self.read(0.1)

    def wait(self, seconds: float = 20.0) -> int:
        """The exit code."""
        end = time.monotonic() + seconds
        while self.code is None:
            assert time.monotonic() < end, "the process does not end"
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                self.read(0.05)
        self.read(0.05)
        return self.code

    def close(self) -> None:
        """End the process if it still runs."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(partial_run: Path) -> Iterator[Terminal]:
    """The interface on a run whose job this test plays."""
    make_status(partial_run, "running")
    opened = Terminal("-m", "globa_tui", "open", str(partial_run))
    yield opened
    opened.close()


def test_idle_sends_nothing_and_leaving_restores_the_terminal(terminal: Terminal) -> None:
    terminal.read_until(b"largest subspace overlap")
    terminal.read(1.5)
    assert terminal.read(2.5) == b""
    os.write(terminal.fd, b"q")
    assert terminal.wait() == 0
    assert LEAVE_SCREEN in terminal.seen
    assert MOUSE_OFF in terminal.seen
    said = terminal.seen.rpartition(LEAVE_SCREEN)[2].decode()
    assert "the analysis continues, pid" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_cleanly(terminal: Terminal, number: signal.Signals, code: int) -> None:
    terminal.read_until(b"largest subspace overlap")
    os.kill(terminal.pid, number)
    assert terminal.wait() == code
    assert LEAVE_SCREEN in terminal.seen
    assert MOUSE_OFF in terminal.seen
    assert b"Traceback" not in terminal.seen


def test_a_terminal_that_goes_without_a_signal_ends_the_interface(partial_run: Path) -> None:
    """Where it does not control the process, the kernel sends none, and reading finds an end for ever."""
    make_status(partial_run, "running")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "globa_tui", "open", str(partial_run)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), cwd=ROOT, start_new_session=True
    ) as interface:
        os.close(theirs)
        seen = b""
        while b"largest subspace overlap" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        try:
            assert interface.wait(20) == 129
        finally:
            interface.kill()


def test_interface_imports_neither_torch_nor_analysis(whole_run: Path) -> None:
    """All screens opened, a layer read and a recipe changed, in a process of its own."""
    script = f"""
import asyncio, sys
from pathlib import Path
from tests.tui.driving import opened, press

async def main():
    async with opened(Path({str(whole_run)!r})) as (app, pilot):
        first = set(sys.modules)
        for keys in ("2 m", "3", "j enter", "tab tab tab tab tab tab", "4", "j right y", "escape M", "escape 5"):
            await press(pilot, *keys.split())
        return first

first = asyncio.run(main())
heavy = {{"torch", "analysis", "transformers", "scipy"}} & set(sys.modules)
assert not heavy, heavy
early = {{"h5py", "numpy", "plotext", "textual_plotext"}} & first
assert not early, early
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_ssh_slows_the_frames_and_stops_animations() -> None:
    script = """
from globa_tui.tui import _prepare_environment
_prepare_environment()
from textual import constants
print(constants.MAX_FPS, constants.TEXTUAL_ANIMATIONS)
"""
    for more, expected in (({"SSH_CONNECTION": "1 2 3 4"}, "20 none"), ({}, "60 full")):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment(**more), capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_without_a_terminal_it_names_the_headless_commands(
    partial_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.__stdin__", None)
    assert run_inspect(partial_run) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"globa-tui show {partial_run}" in said


class Tty:
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class LatinTty(Tty):
    encoding = "latin-1"


@pytest.mark.parametrize(
    ("term", "stream", "expected"),
    [("xterm", Tty(), None), ("dumb", Tty(), "TERM='dumb'"), ("xterm", LatinTty(), None), ("", Tty(), "TERM=''")],
)
def test_terminals_that_cannot_show_it(
    monkeypatch: pytest.MonkeyPatch, term: str, stream: Tty, expected: str | None
) -> None:
    monkeypatch.setattr("sys.__stdin__", stream)
    monkeypatch.setattr("sys.__stderr__", stream)
    monkeypatch.setenv("TERM", term)
    found = terminal_trouble()
    assert (found is None) == (expected is None)
    assert expected is None or expected in str(found)
