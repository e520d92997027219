"""`make bench`: print a table and write `out/benchmarks.json`."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import layers, memory, metrics, programs, sweep
from benchmarks.measure import Row, table

OUT = Path(__file__).parents[1] / "out" / "benchmarks.json"


def rows(full: bool, threads: int) -> Iterator[Row]:
    """Every measurement in turn; the slow ones only with `full`."""
    sizes = (1024, 2048, 4096) if full else (1024,)
    spectra = (layers.BROAD, layers.DECAYING, layers.NARROW, layers.ADAPTER)
    for size in sizes:
        rounds = 3 if size == 1024 else 1
        for spectrum in spectra:
            yield layers.against_authors(size, spectrum, rounds)
        for spectrum in spectra:
            yield layers.against_floor(size, spectrum, rounds + 1)
        for spectrum in spectra:
            yield metrics.added(size, spectrum, rounds + 1)
    if not full:
        yield layers.against_floor(2048, layers.DECAYING, 1)
    yield layers.factors(4096 if full else 1024, 3)
    yield from layers.scaling(3)
    yield memory.analysis_memory(1, 2048, 2048, threads)
    if full:
        yield memory.analysis_memory(30, 4096, 4096, threads, changed=2)
    yield memory.small_layers(20_000 if full else 1000, threads)
    yield from sweep.candidates()
    yield programs.help_row(5)
    yield programs.paint_row(5)


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
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
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    found: list[Row] = []
    start = time.monotonic()
    for row in rows(chosen.full, chosen.threads):
        found.append(row)
        print(
            f"{time.monotonic() - start:6.0f} s  {row.what}: {row.figure:.3g} {row.unit}", file=sys.stderr, flush=True
        )
    OUT.parent.mkdir(exist_ok=True)
    report = {"machine": machine(), "rows": [dataclasses.asdict(row) for row in found]}
    OUT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(table(found))
    print(f"\n{json.dumps(machine())}\nwritten to {OUT}")


if __name__ == "__main__":
    main()
