"""Whole commands as processes: started, killed, waited for, and what they said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.trust import faults

ROOT = Path(__file__).parents[2]
ANALYSIS = ("globa_tui.cli.app", "globa_tui.jobs.analyze", "globa_tui.jobs.merge", "h5py", "rich.progress")
INTERFACE = ("globa_tui.cli.app", "globa_tui.tui.app", "globa_tui.jobs.client")


@dataclass
class Zygote:
    """Starts commands quickly; see `tests.trust.zygote`."""

    modules: tuple[str, ...] = ANALYSIS
    started: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Zygote:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        environment.pop("NO_COLOR", None)
        environment.update(self.environment)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.trust.zygote", *self.modules],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        folder: Path,
        *words: object,
        plan: str = "",
        watched: Path | None = None,
        clock: float = 0.0,
        terminal: str | None = None,
        runner: bool = False,
        ignored: str = "",
        limits: dict[str, int] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Command:
        """Start `globa-tui WORDS` in that folder; `plan` is a plan of `tests.trust.faults`."""
        self.started += 1
        stem = folder / f".said-{os.getpid()}-{self.started}"
        command = Command(self, stem)
        wanted = {
            faults.VARIABLE: plan,
            faults.WATCHED: str(watched or folder),
            faults.COUNTS: str(command.counts_file),
            faults.CLOCK: str(clock),
            **(environment or {}),
        }
        command.pid = self.ask(
            {
                "words": [str(word) for word in words],
                "folder": str(folder),
                "out": f"{stem}.out",
                "err": f"{stem}.err",
                "environment": wanted,
                "terminal": terminal,
                "runner": runner,
                "ignored": ignored,
                "limits": limits or {},
            }
        )
        return command

    def run(self, folder: Path, *words: object, seconds: float = 60.0, **options: Any) -> Command:
        """Start a command and wait for its end."""
        command = self.start(folder, *words, **options)
        command.wait(seconds)
        return command


class Command:
    """A process of `globa-tui`."""

    def __init__(self, zygote: Zygote, stem: Path) -> None:
        self._zygote, self._stem = zygote, stem
        self.pid = 0
        self.code: int | None = None
        self.counts_file = stem.with_suffix(".counts")

    def wait(self, seconds: float = 60.0) -> int:
        """Wait for its end; a process that hangs is killed and fails the test."""
        if self.code is None:
            self.code = self._zygote.ask({"wait": self.pid, "seconds": seconds})
            if self.code is None:
                self.kill(signal.SIGKILL)
                self._zygote.ask({"wait": self.pid, "seconds": 10})
                msg = f"hangs: still running after {seconds} s\n{self.err}"
                raise AssertionError(msg)
        return self.code

    def kill(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill_after(self, seconds: float, number: int) -> int:
        """Let it run for so long, send the signal, wait for its end."""
        time.sleep(seconds)
        self.kill(number)
        return self.wait()

    @property
    def out(self) -> str:
        return self._read(".out")

    @property
    def err(self) -> str:
        return self._read(".err")

    @property
    def counts(self) -> dict[str, int]:
        """How often it used each operation of the disk."""
        found: dict[str, int] = json.loads(self.counts_file.read_text())
        return found

    def _read(self, suffix: str) -> str:
        path = self._stem.with_suffix(suffix)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def one_line(said: str) -> str:
    """The one line that a failed command says; anything else fails the test."""
    lines = said.splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("globa-tui: "), said
    assert lines[0].isprintable(), ascii(said)
    assert "Traceback" not in said
    assert "--debug shows where" not in said, said
    return lines[0]
