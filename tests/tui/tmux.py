"""A real terminal: tmux on a socket of its own, driven with keys and read line by line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
FOREIGN = ("TMUX", "NO_COLOR", "COLUMNS", "LINES")
"""Not passed on; xdist sets COLUMNS and LINES, and Textual believes them."""
QUIET = {"OMP_NUM_THREADS": "1"}
"""Threads that wait for one another are slow where other tests run."""


class Tmux:
    """One window in a tmux server that nobody else uses; use as a context manager."""

    def __init__(self, folder: Path, size: tuple[int, int] = (80, 24)) -> None:
        self._folder = folder
        self._size = size
        self._socket = f"globa-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Tmux:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def run(self, *arguments: object) -> None:
        """Start `globa-tui` with these arguments; its exit code is printed when it ends."""
        line = shlex.join([sys.executable, "-m", "globa_tui", *map(str, arguments)])
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", **QUIET}
        environment = {name: value for name, value in environment.items() if name not in FOREIGN}
        width, height = map(str, self._size)
        command = ["new-session", "-d", "-s", "test", "-x", width, "-y", height]
        self._tmux(*command, f"{line}; echo LEFT WITH $?; sleep 1000", environment=environment)

    def run_in_shell(self, *arguments: object) -> None:
        """Start `globa-tui` from an interactive shell, which can stop and continue it."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", **QUIET}
        environment = {name: value for name, value in environment.items() if name not in FOREIGN}
        width, height = map(str, self._size)
        self._tmux("new-session", "-d", "-s", "test", "-x", width, "-y", height, "sh -i", environment=environment)
        # Written in two parts, so that the line itself is not taken for the prompt.
        self.keys("PS1='she''ll> '", "Enter")
        self.wait_for("shell>")
        self.keys(shlex.join([sys.executable, "-m", "globa_tui", *map(str, arguments)]), "Enter")

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._tmux("send-keys", "-t", "test", *keys)

    def text(self) -> str:
        """What the window shows."""
        return self._tmux("capture-pane", "-p", "-t", "test")

    def wait_for(self, *wanted: str, seconds: float = 60.0) -> str:
        """Wait until the window shows all of this."""
        end = time.monotonic() + seconds
        while not all(part in (text := self.text()) for part in wanted):
            assert time.monotonic() < end, f"waited in vain for {wanted}:\n{text}"
            assert "✖ FAILED" not in text, f"a job failed:\n{text}"
            time.sleep(0.15)
        return text

    def kill(self) -> None:
        """Kill the terminal with everything that runs in it."""
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False)

    def _tmux(self, *words: str, environment: dict[str, str] | None = None) -> str:
        command = ["tmux", "-L", self._socket, "-f", os.devnull, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, env=environment, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout
