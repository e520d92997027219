"""From a keypress to the painted frame: ``python -m benchmarks.latency [LAYERS …]`` prints JSON.

The real program runs in a pseudo-terminal on a run of made-up records, while another process computes and layers keep
arriving. A key is sent; the time ends when the bytes of the new frame have come and none follow for a while.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.tui.fake_run import layers, manifest, record

ROOT = Path(__file__).parents[1]
QUIET = 0.03
"""Seconds without bytes after which a frame is whole."""
SCREENS = {
    "layers": (b"3", [b"j", b"k", b"\x04", b"\x15", b"s"]),
    "recipe": (b"4", [b"j", b"\x1b[C", b"\x1b[D", b"k"]),
    "overview": (b"1", [b"j", b"k", b"\x04", b"\x15"]),
    "map": (b"2", [b"l", b"j", b"m", b"h", b"k"]),
    "change of screen": (b"1", [b"3", b"1", b"2", b"4", b"5"]),
    "a layer and back": (b"3", [b"\r", b"\x7f"]),
}
BUSY = "import time\nwhile True: sum(i * i for i in range(100000))"
RECORDS_PER_SECOND = 4


def write_run(path: Path, wanted: int) -> list[str]:
    """A run of about that many layers, a tenth of them still to come; returns the lines of those."""
    index = manifest(-(-wanted // 8))
    index["layers"] = layers(-(-wanted // 8))[:wanted]
    made = [record(layer) if layer["role"] == "matrix" else {**layer, "status": "skipped"} for layer in index["layers"]]
    path.mkdir()
    (path / "layers").mkdir()
    (path / "run.json").write_text(json.dumps({"format": 1, "created": "", **index}))
    lines = [json.dumps({**each, "error": None}) for each in made]
    ready = len(lines) * 9 // 10
    (path / "summary.jsonl").write_text("".join(f"{line}\n" for line in lines[:ready]))
    return lines[ready:]


class Timing(NamedTuple):
    """Milliseconds from a key to its frame."""

    whole: float
    own: float
    """Without waiting for a processor."""


class Terminal:
    """The program in a pseudo-terminal of 120 by 40."""

    def __init__(self, run: Path) -> None:
        self.process, self._file = pty.fork()
        if self.process == 0:
            environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
            os.execve(sys.executable, [sys.executable, "-m", "globa_tui", "open", str(run)], environment)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def read_until_quiet(self, first: float, quiet: float = QUIET) -> float | None:
        """When the last byte of a frame came, or None when none came within `first` seconds."""
        last, wait = None, first
        while select.select([self._file], [], [], wait)[0]:
            try:
                os.read(self._file, 1 << 16)
            except OSError:  # the program has left
                break
            last, wait = time.perf_counter(), quiet
        return last

    def milliseconds(self, key: bytes) -> Timing | None:
        """Time from a key to its painted frame."""
        start, waited = time.perf_counter(), self._waited()
        os.write(self._file, key)
        end = self.read_until_quiet(1.0)
        if end is None:
            return None
        whole = 1000 * (end - start)
        return Timing(whole, max(whole - self._waited() + waited, 0.0))

    def _waited(self) -> float:
        """Milliseconds that both sides were ready to run and had to wait so far."""
        try:
            texts = [Path(f"/proc/{process}/schedstat").read_text() for process in (self.process, os.getpid())]
            return sum(int(text.split()[1]) for text in texts) / 1e6
        except (OSError, IndexError):
            return 0.0

    def close(self) -> None:
        """Leave as a person would."""
        os.write(self._file, b"\x11")
        self.read_until_quiet(1.0, 0.5)
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


@contextmanager
def job() -> Iterator[None]:
    """Another process that computes all the time."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(wanted: int, keys: int, folder: Path) -> dict[str, Any]:
    """Percentiles per screen, with layers that arrive between the keys."""
    run = folder / f"run{wanted}.globa"
    arriving = write_run(run, wanted)
    terminal = Terminal(run)
    start = time.perf_counter()
    found: dict[str, Any] = {"layers": wanted}
    try:
        terminal.read_until_quiet(20.0, 3.0)
        with job():
            for name, (screen, choice) in SCREENS.items():
                terminal.milliseconds(screen)
                terminal.read_until_quiet(1.0, 1.0)
                painted = _times(terminal, choice, keys, run, arriving)
                times = [timing for timing in painted if timing is not None]
                found[name] = {
                    "keys": len(times),
                    **percentiles("", [timing.whole for timing in times]),
                    **percentiles("own_", [timing.own for timing in times]),
                }
    finally:
        terminal.close()
    found["seconds"] = round(time.perf_counter() - start, 1)
    return found


def percentiles(prefix: str, times: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the worst."""
    times = sorted(times)
    p95 = times[int(0.95 * (len(times) - 1))]
    return {
        f"{prefix}{name}_ms": round(value, 1)
        for name, value in (("p50", statistics.median(times)), ("p95", p95), ("worst", times[-1]))
    }


def _times(
    terminal: Terminal, choice: list[bytes], keys: int, run: Path, arriving: list[str]
) -> Iterator[Timing | None]:
    random.seed(0)
    due = time.monotonic()
    for place in range(keys):
        if time.monotonic() >= due and arriving:
            due += 1 / RECORDS_PER_SECOND
            with (run / "summary.jsonl").open("a") as file:
                file.write(f"{arriving.pop(0)}\n")
        terminal.read_until_quiet(random.uniform(0.02, 0.1))
        yield terminal.milliseconds(choice[place % len(choice)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("layers", nargs="*", type=int, default=[225, 20_000])
    parser.add_argument("--keys", type=int, default=150, help="keys per screen")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="latency-"))
    try:
        rows = [measure(wanted, options.keys, folder) for wanted in options.layers]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = {"processors": os.cpu_count(), "load": os.getloadavg()[0], "size": "120x40", "rows": rows}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
