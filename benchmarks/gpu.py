"""`python -m benchmarks.gpu`: is what a GPU computes right, and how fast is it? One command for whoever has one.

It needs no model: matrices and checkpoints are made on the spot. The processor's results are the reference. Without a
GPU it compares the processor with itself, which is how it is tested.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from analysis.layer import LayerAnalysis, LayerOptions, analyse_layer
from analysis.merge.globa import PATTERNS, merged_delta, weighted_core
from benchmarks import layers
from benchmarks.__main__ import machine
from benchmarks.measure import Row, table
from benchmarks.memory import make_models
from globa_tui.engine.devices import resolve_devices
from globa_tui.engine.local import LocalEngine
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from store.run import Run

OUT = Path(__file__).parents[1] / "out" / "gpu.json"
SPECTRA = (layers.BROAD, layers.DECAYING, layers.NARROW)
_BOUNDS = {torch.float32: 1e-2, torch.float64: 1e-6}
"""How far a type's merged delta may lie from the processor's, by working precision (DESIGN.md, section 5)."""


def rows(device: torch.device, size: int) -> Iterator[Row]:
    """Every check and every measurement in turn."""
    yield products(device, size)
    for spectrum in SPECTRA:
        for dtype in _BOUNDS:
            yield agreement(device, size // 2, spectrum, dtype)
    for spectrum in SPECTRA:
        yield speed(device, size, spectrum)
    with tempfile.TemporaryDirectory() as place:
        yield from checkpoints(device, size // 2, Path(place))


def products(device: torch.device, size: int) -> Row:
    """Whether float32 products are float32: TF32 would be off by 1e-3 and more."""
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(size, size, generator=generator) for _ in range(2))
    with LocalEngine([device]):
        found = (one.to(device) @ two.to(device)).double().cpu()
    exact = one.double() @ two.double()
    error = float((found - exact).norm() / exact.norm())
    return Row(f"error of a float32 product, {size}² on {device}", error, "", "≤ 1e-5", error <= 1e-5, {})


def agreement(device: torch.device, size: int, spectrum: str, dtype: torch.dtype) -> Row:
    """How far the merged deltas of the types lie from the processor's, the farthest of them."""
    options = LayerOptions((0.90, 0.99), (0.95, 0.80), dtype=dtype)
    base, models = _layer(size, spectrum)
    here = analyse_layer(base, models, options)
    there = analyse_layer(base.to(device), [model.to(device) for model in models], options)
    shares = {pattern: _difference(here, there, pattern) for pattern in PATTERNS}
    worst = max(shares.values())
    ranks = [[svd.rank for svd in one.svds] for one in (here, there)]
    what = f"types on {device} against the processor, {size}², {spectrum}, {str(dtype).removeprefix('torch.')}"
    detail = {"patterns": shares, "ranks": ranks}
    bound = _BOUNDS[dtype]
    return Row(what, worst, "", f"≤ {bound:g}", worst <= bound and ranks[0] == ranks[1], detail)


def _difference(here: LayerAnalysis, there: LayerAnalysis, pattern: str) -> float:
    """‖Δ_here − Δ_there‖ for one type alone, in units of the norm of all of them."""
    alone = {name: float(name == pattern) for name in PATTERNS}
    everything = dict.fromkeys(PATTERNS, 1.0)
    deltas = [_delta(one, alone) for one in (here, there)]
    return float((deltas[0] - deltas[1]).norm() / _delta(here, everything).norm())


def _delta(found: LayerAnalysis, coefficients: dict[str, float]) -> torch.Tensor:
    core = weighted_core(found.pruned, 0, coefficients)
    return merged_delta(found.left.vectors, core, found.right.vectors).double().cpu()


def speed(device: torch.device, size: int, spectrum: str) -> Row:
    """The same layer on the processor and on the device, wall time, copies included."""
    options = LayerOptions((0.90, 0.99), (0.95, 0.80))
    base, models = _layer(size, spectrum)

    def seconds(place: torch.device) -> float:
        start = time.monotonic()
        analyse_layer(base.to(place), [model.to(place) for model in models], options)
        _wait(place)
        return time.monotonic() - start

    seconds(device)  # libraries are loaded and kernels chosen at the first call
    slow, fast = seconds(torch.device("cpu")), seconds(device)
    detail = {"processor": slow, "device": fast}
    return Row(f"processor / {device}, one layer {size}², {spectrum}", slow / fast, "×", "", None, detail)


def checkpoints(device: torch.device, size: int, folder: Path, count: int = 6) -> Iterator[Row]:
    """A whole analysis: processor against device, all devices against one, and a device with too little memory."""
    models = make_models(folder, count, size, size, "bfloat16")
    names = dict.fromkeys(["cpu", str(device), *(["cuda"] if torch.cuda.device_count() > 1 else [])])
    taken = {name: _analyse(models, folder / f"{number}.globa", name) for number, name in enumerate(names)}
    for name in names:
        what = f"processor / {name}, analysis of {count} layers of {size}²"
        same = all(a["rank"] == b["rank"] for a, b in zip(taken["cpu"][1], taken[name][1], strict=True))
        yield Row(what, taken["cpu"][0] / taken[name][0], "×", "same ranks", same, {"seconds": taken[name][0]})
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(2e8 / torch.cuda.get_device_properties(device).total_memory, device)
        _, records = _analyse(models, folder / "small.globa", str(device))
        moved = sum(record.get("instead_of") == "cuda" for record in records)
        done = sum(record["status"] == "done" for record in records)
        what = "layers that a GPU with 0.2 GB leaves to the processor"
        yield Row(what, moved, f"of {count}", "all layers done", done == count, {})


def _analyse(models: tuple[str, tuple[str, ...]], run: Path, device: str) -> tuple[float, list[dict[str, object]]]:
    start = time.monotonic()
    run_analysis(AnalysisRequest(*models, run, AnalysisSettings(device=device)))
    return time.monotonic() - start, [record for record in Run.open(run).records() if record["status"] != "skipped"]


def _layer(size: int, spectrum: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(7)
    base = 0.02 * torch.randn(size, size, generator=generator)
    return base, [base + layers.task(size, size, spectrum, seed) for seed in (1, 2)]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_facts(device: torch.device) -> dict[str, object]:
    if device.type != "cuda":
        return {"device": str(device)}
    facts = torch.cuda.get_device_properties(device)
    count = torch.cuda.device_count()
    return {"device": facts.name, "memory": facts.total_memory, "count": count, "cuda": torch.version.cuda}


def main(argv: list[str] | None = None) -> int:
    """Check, measure, print and write; 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N or cpu; the first one where it is several")
    parser.add_argument("--size", type=int, default=4096, help="side of the matrices that are timed (default 4096)")
    parser.add_argument("--out", type=Path, default=OUT, help="where the report goes")
    chosen = parser.parse_args(argv)
    device = resolve_devices(chosen.device)[0]
    found: list[Row] = []
    for row in rows(device, chosen.size):
        found.append(row)
        print(f"{row.what}: {row.figure:.3g} {row.unit}", file=sys.stderr, flush=True)
    facts = {**machine(), **_device_facts(device)}
    chosen.out.parent.mkdir(exist_ok=True, parents=True)
    report = {"machine": facts, "rows": [dataclasses.asdict(row) for row in found]}
    chosen.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(table(found))
    print(f"\n{json.dumps(facts)}\nwritten to {chosen.out}")
    return int(any(row.reached is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
