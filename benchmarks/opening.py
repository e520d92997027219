"""Opening a run of many layers: ``python -m benchmarks.opening [LAYERS]`` prints processor seconds as JSON.

The records are real ones, of the demo family, repeated under other names; layer files are not needed for opening.
A round takes some forty seconds for two and three fine-tunes; each figure goes to stderr when it is known.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import processor_seconds
from demo.family import BASE, FINE_TUNED, MODELS
from globa_tui.api import AnalysisSettings, analyze
from globa_tui.findings import findings_of_run
from globa_tui.tui.follow import RunFollower
from store.run import Run

COMMANDS = (["show"], ["show", "--findings"])


def repeated(run: Run, path: Path, wanted: int) -> None:
    """Write a run of so many layers with the records of another, its blocks repeated."""
    tensors, records = run.manifest["layers"], run.records()
    blocks = 1 + max(layer["block"] or 0 for layer in tensors)
    made: list[tuple[dict[str, Any], dict[str, Any]]] = []
    while len(made) < wanted:
        shift = blocks * (len(made) // len(tensors))
        for layer, record in zip(tensors, records, strict=True):
            block = None if layer["block"] is None else layer["block"] + shift
            head = {"index": len(made), "name": f"{shift}.{layer['name']}", "block": block}
            made.append(({**layer, **head}, {**record, **head}))
    made = made[:wanted]
    (path / "layers").mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({**run.manifest, "layers": [layer for layer, _ in made]}))
    (path / "summary.jsonl").write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for _, record in made))


def follow(path: Path) -> None:
    """Take over all records, with the first numbers, as the interface does."""
    follower = RunFollower(path, None)
    list(follower.poll())
    while follower.reading:
        list(follower.poll())


def of_command(words: list[str]) -> float:
    """Processor time of the program, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "globa_tui", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(tasks: int, wanted: int, folder: Path, rounds: int) -> dict[str, Any]:
    """Least of several rounds, for a run of that many fine-tunes."""
    small = analyze(
        MODELS / BASE,
        [MODELS / name for name in FINE_TUNED[:tasks]],
        folder / f"small{tasks}",
        AnalysisSettings(factors=False),
    )
    path = folder / f"large{tasks}.globa"
    repeated(small, path, wanted)
    opened = Run.open(path)
    what: dict[str, Callable[[], object]] = {
        "store": lambda: Run.open(path),
        "interface, first layers": lambda: list(RunFollower(path, None).poll()),
        "interface, all layers": lambda: follow(path),
        "findings": lambda: findings_of_run(opened),
    }
    timed = {name: partial(processor_seconds, call) for name, call in what.items()}
    timed |= {" ".join(words): partial(of_command, [words[0], str(path), *words[1:]]) for words in COMMANDS}
    found = {}
    for name, seconds in timed.items():
        found[name] = min(seconds() for _ in range(rounds))
        print(f"{tasks} fine-tunes, {name}: {found[name]:.2f} s", file=sys.stderr, flush=True)
    size = (path / "summary.jsonl").stat().st_size
    return {"fine_tunes": tasks, "layers": wanted, "summary_mb": round(size / 1e6, 1)} | {
        name: round(seconds, 2) for name, seconds in found.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opening", description=__doc__)
    parser.add_argument("layers", nargs="?", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1, help="the least of so many is printed")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="opening-"))
    try:
        rows = [measure(tasks, options.layers, folder, options.rounds) for tasks in (2, 3)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"processors": os.cpu_count(), "load": os.getloadavg()[0], "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
