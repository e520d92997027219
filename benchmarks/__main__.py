"""`make bench`: print a table and write `out/benchmarks.json`."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import layers, memory, merging, metrics, programs, sweep, watching
from benchmarks.measure import Row, table

_ROOT = Path(__file__).parents[1]
OUT = _ROOT / "out" / "benchmarks.json"
PAGE = _ROOT / "docs" / "performance.md"
_BEGIN, _END = "<!-- written by `python -m benchmarks --docs` -->", "<!-- end -->"
SPECTRA = (layers.BROAD, layers.DECAYING, layers.NARROW, layers.ADAPTER)

Measurement = Callable[[], Iterable[Row]]


def measurements(full: bool, threads: int, mergekit: bool) -> Iterator[tuple[str, Measurement]]:
    """Every measurement under a name; the slow ones only with `full`, mergekit's where it is or may be installed."""
    for size in (1024, 2048, 4096) if full else (1024,):
        rounds = 3 if size == 1024 else 1
        yield f"authors-{size}", partial(map, partial(layers.against_authors, size, rounds=rounds), SPECTRA)
        yield f"floor-{size}", partial(map, partial(layers.against_floor, size, rounds=rounds), SPECTRA)
        yield f"added-{size}", partial(map, partial(metrics.added, size, rounds=rounds), SPECTRA)
    yield "lora", lambda: [layers.factors(4096 if full else 1024, 3)]
    yield "scaling", lambda: layers.scaling(3)
    blocks = 24 if full else 4
    for method in ("linear", "task_arithmetic"):
        yield f"copy-{method}", partial(merging.against_copy, 2 * blocks, 2048, os.cpu_count() or 1, 5, method)
    yield "factors", lambda: [merging.from_factors(1, 1024 if full else 512, threads)]
    place = merging.mergekit_environment(make=mergekit)
    if place is not None:
        yield "mergekit", lambda: merging.against_mergekit(place, blocks, 1024, threads, 3)
    yield "memory-2048", lambda: [memory.analysis_memory(1, 2048, 2048, threads)]
    if full:
        yield "memory-4096", lambda: [memory.analysis_memory(30, 4096, 4096, threads, changed=2)]
    yield "small", lambda: [memory.small_layers(20_000 if full else 1000, threads)]
    yield "sweep", sweep.candidates
    yield "help", lambda: [programs.help_row(5)]
    yield "paint", lambda: [programs.paint_row(5, count) for count in (225, 20_000)]
    yield "watching", lambda: watching.watched(24, 512, 3)


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also 2048² and 4096², 3 GB of checkpoints, 20,000 layers")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1: least disturbed)")
    parser.add_argument("--mergekit", action="store_true", help="install mergekit below build/ to measure against it")
    parser.add_argument("--only", default="", metavar="REGEX", help="such measurements alone; the others stay as found")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/performance.md")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    found = _found_before() if chosen.only else {}
    for name, measure in measurements(chosen.full, chosen.threads, chosen.mergekit):
        if re.search(chosen.only, name):
            for row in measure():
                found[row.what] = {**dataclasses.asdict(row), "machine": machine()}
                print(f"{time.process_time():6.0f} s  {row.what}: {row.figure:.3g} {row.unit}", file=sys.stderr)
                _keep(found)
    lines = table([Row(**{key: value for key, value in row.items() if key != "machine"}) for row in found.values()])
    print(f"{lines}\n\n{json.dumps(machine())}\nwritten to {OUT}")
    if chosen.docs:
        _write_page(lines)


def _found_before() -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(OUT.read_text())["rows"] if OUT.exists() else []
    return {row["what"]: row for row in rows}


def _keep(found: dict[str, dict[str, Any]]) -> None:
    """Write what there is after every row: a long measurement may be cut short."""
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"rows": list(found.values())}, indent=1, ensure_ascii=False) + "\n")


def _write_page(lines: str) -> None:
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    facts = machine()
    about = f"{facts['date']}, {facts['processor']}, torch {facts['torch']}, Python {facts['python']}"
    PAGE.write_text(f"{before}{_BEGIN}\n\n{about}\n\n{lines}\n\n{_END}{after}")


if __name__ == "__main__":
    main()
