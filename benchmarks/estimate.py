"""The effect of a recipe from stored scalars: ``python -m benchmarks.estimate [LAYERS]`` prints milliseconds."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from globa_tui.coefficients import parse_coef
from globa_tui.effect import EffectTable
from globa_tui.recipe import Recipe
from globa_tui.resolve import LayerIndex
from tests.tui.fake_run import layers, record

ROUNDS = 20


def milliseconds(action: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median processor time of an action."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        action()
        times.append(1000 * (time.process_time() - start))
    return round(statistics.median(times), 2)


def measure(wanted: int, overrides: int = 500) -> dict[str, Any]:
    """Time to collect the scalars once, and of one estimate without and with overrides."""
    index = layers(-(-wanted // 8))[:wanted]
    records = [record(layer) if layer["role"] == "matrix" else {**layer, "status": "skipped"} for layer in index]
    names = [found["name"] for found in records if found["status"] == "done"]
    plain = Recipe(run="x")
    mixed = Recipe(run="x", overrides=tuple(parse_coef(f"layer {name}:A=0.5") for name in names[:overrides]))
    table, places = EffectTable.from_records(records, 2), LayerIndex(records)
    table.estimate(places.coefficients(plain))
    return {
        "layers": len(records),
        "overrides": overrides,
        "collect_ms": milliseconds(lambda: EffectTable.from_records(records, 2), 3),
        "estimate_ms": milliseconds(lambda: table.estimate(places.coefficients(plain))),
        "estimate_with_overrides_ms": milliseconds(lambda: table.estimate(places.coefficients(mixed))),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimate", description=__doc__)
    parser.add_argument("layers", nargs="?", type=int, default=20_000)
    print(json.dumps(measure(parser.parse_args().layers), indent=1))


if __name__ == "__main__":
    main()
