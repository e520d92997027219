"""How soon the program is there: `--help`, and the first picture of the terminal interface."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from statistics import median

from benchmarks.latency import write_run
from benchmarks.measure import Row

_ROOT = Path(__file__).parents[1]


def help_row(rounds: int) -> Row:
    """Processor seconds of `globa-tui --help`."""
    seconds = []
    for _ in range(rounds + 1):
        before = os.times()
        subprocess.run([sys.executable, "-m", "globa_tui", "--help"], cwd=_ROOT, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        seconds.append(after.children_user - before.children_user + after.children_system - before.children_system)
    figure = median(seconds[1:])
    return Row("`--help`, processor time", figure, "s", "≤ 0.25 s", figure <= 0.25, {"seconds": seconds})


def paint_row(rounds: int, layers: int) -> Row:
    """Wall seconds from the start of `globa-tui open` to the first layer on the screen, on a run of made-up records."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run.globa"
        write_run(run, layers)
        seconds = [_first_paint(run) for _ in range(rounds + 1)]
    figure, goal = median(seconds[1:]), 1.0 if layers <= 1000 else 2.0
    what = f"TUI, first layer on the screen of {layers:,}, wall time"
    return Row(what, figure, "s", f"≤ {goal:g} s", figure <= goal, {"seconds": seconds})


def _first_paint(run: Path) -> float:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "globa_tui", "open", str(run)],
        stdin=follower, stdout=follower, stderr=follower, cwd=_ROOT,
        env={**os.environ, "TERM": "xterm-256color"}, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    seen = b""
    try:
        while b"_proj" not in seen and time.monotonic() - start < 60:
            if select.select([leader], [], [], 0.05)[0]:
                seen += os.read(leader, 1 << 16)
        return time.monotonic() - start
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(leader)
