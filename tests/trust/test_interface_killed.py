"""The terminal interface under a pseudo-terminal, killed: the run and its recipe stay whole."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import struct
import termios
import threading
import time
from pathlib import Path

import pytest

from globa_tui.recipe import Recipe
from store.run import Run
from tests.trust.command import Zygote
from tests.trust.scale import note, rounds
from tests.trust.trial import SIGNALS, Bench, layer_digests, records_of

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals"),
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("trust"),
]
QUIT_WITHIN = 20.0


class Terminal:
    """A pseudo-terminal whose other end is read all the time."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        self.name = os.ttyname(self._slave)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.shown = b""
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while True:
            try:
                part = os.read(self.master, 65536)
            except OSError:
                return
            if not part:
                return
            self.shown += part

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, text: bytes, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, self.shown[-2000:]
            time.sleep(0.02)

    def close(self) -> None:
        os.close(self._slave)
        os.close(self.master)
        self._thread.join(5)


def check(bench: Bench, run: Path, before: dict[str, str]) -> None:
    assert layer_digests(run) == before
    assert records_of(run) == bench.records
    recipe = run / "recipes" / "current.yaml"
    if recipe.exists():
        Recipe.read(recipe)


@pytest.mark.parametrize("name", SIGNALS)
def test_killed_while_a_recipe_is_edited(bench: Bench, interface: Zygote, tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    for _ in range(rounds(1, 10)):
        run = tmp_path / "run.globa"
        shutil.copytree(bench.whole, run)
        before = layer_digests(run)
        terminal = Terminal()
        command = interface.start(tmp_path, "open", run, terminal=terminal.name, environment={"TERM": "xterm-256color"})
        terminal.wait_for(b"Overview")
        terminal.type(b"4")
        for _ in range(6):
            terminal.type(b"j\x1b[C\x1b[C")
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.8))
        command.kill(getattr(signal, name))
        if name == "SIGINT":  # a person's ctrl-C is a key here; the signal alone may be ignored
            time.sleep(0.3)
            terminal.type(b"q")
        code = command.wait(QUIT_WITHIN)
        if name in ("SIGTERM", "SIGHUP"):
            assert code != 0 or name == "SIGHUP"
            assert b"Traceback" not in terminal.shown
        terminal.close()
        if name == "SIGTERM":
            assert b"\x1b[?1049l" in terminal.shown, "the terminal was not given back"
        check(bench, run, before)
        note("open (interface)", f"{name} at a random moment", "run and recipe whole")
        shutil.rmtree(run)


@pytest.mark.skipif(rounds(1, 2) == 1, reason="in `make soak`; test_tmux has the same with a terminal that goes away")
def test_a_job_outlives_the_interface_that_started_it(bench: Bench, interface: Zygote, tmp_path: Path) -> None:
    for name in SIGNALS[:3]:
        run = tmp_path / f"{name}.globa"
        terminal = Terminal()
        words = ["inspect", *bench.sources, "--store", run]
        command = interface.start(tmp_path, *words, terminal=terminal.name, environment={"TERM": "xterm-256color"})
        end = time.monotonic() + 60
        while not (run / "jobs" / "analyze.json").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        command.kill(getattr(signal, name))
        command.wait(QUIT_WITHIN)
        terminal.close()
        while not (run / "run.json").exists() or any(r["status"] == "pending" for r in Run.open(run).records()):
            assert time.monotonic() < end
            time.sleep(0.1)
        while (run / "lock").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        check(bench, run, bench.layers)
        note("inspect (interface)", f"{name} while its job runs", "the job goes on to the end")
