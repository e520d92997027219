"""What the terminal interface costs the job that it watches."""

from __future__ import annotations

import os
import pty
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.measure import Row
from benchmarks.memory import analyse, make_models

_ROOT = Path(__file__).parents[1]


def watched(layers: int, side: int, rounds: int) -> list[Row]:
    """Time of an analysis with the interface open on its run, against the same without, in turn."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models = make_models(folder, layers, side, side, "bfloat16")
        pairs = [(_run(folder / f"w{n}", models, watch=True), _run(folder / f"a{n}", models)) for n in range(rounds)]
    detail = {"watched": [one for one, _ in pairs], "alone": [two for _, two in pairs]}
    what = f"analysis of {layers} layers of {side}² with the interface open / without"
    ratios = {name: median(one[name] / two[name] for one, two in pairs) for name in ("wall", "cpu")}
    return [
        Row(f"{what}, wall time", ratios["wall"], "×", "≤ 1.05×", ratios["wall"] <= 1.05, detail),
        Row(f"{what}, processor time of the job", ratios["cpu"], "×", "≤ 1.05×", ratios["cpu"] <= 1.05, {}),
    ]


def _run(folder: Path, models: tuple[str, tuple[str, ...]], *, watch: bool = False) -> dict[str, float]:
    folder.mkdir()
    if not watch:
        return analyse(folder, models, 1, factors=True)
    with _interface(folder / "run.globa"):
        return analyse(folder, models, 1, factors=True)


@contextmanager
def _interface(run: Path) -> Iterator[None]:
    """`globa-tui inspect` without a job of its own: opened as soon as the run is there, and read like a terminal."""
    process, leader = pty.fork()
    if process == 0:
        waiting = f"import os, time\nwhile not os.path.exists({str(run / 'run.json')!r}): time.sleep(0.05)\n"
        opening = f"os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'globa_tui', 'open', {str(run)!r}])"
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(_ROOT)}
        os.execve(sys.executable, [sys.executable, "-c", waiting + opening], environment)
    threading.Thread(target=_drain, args=(leader,), daemon=True).start()
    try:
        yield
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _drain(leader: int) -> None:
    try:
        while os.read(leader, 1 << 16):
            pass
    except OSError:  # the program has left
        pass
    os.close(leader)
