"""Every measure of every pair of the demo family beside what their merges lose: ``python -m demo.pairs_table``.

Writes docs/demo-pairs.md's table and ``pairs.json``. The weights are analysed and the models run here; the losses come
from ``results.json``, which ``python -m demo.table`` measures.
"""

from __future__ import annotations

import json
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

from demo.family import BASE, DATA, FINE_TUNED, FOLDER, MODELS
from demo.methods_table import written
from globa_tui.aggregate import aggregate
from globa_tui.api import AnalysisSettings, analyze
from globa_tui.jobs.represent import RepresentRequest, run_represent

PAGE = FOLDER.parent / "docs" / "demo-pairs.md"
RESULTS = FOLDER / "results.json"
OUT = FOLDER / "pairs.json"
MARKERS = "<!-- pairs: python -m demo.pairs_table -->", "<!-- end of pairs -->"
PAIRS = tuple(combinations(FINE_TUNED, 2))
SAMPLES = 50
MERGES = ("sum", "average")


def weights(pair: tuple[str, str], folder: Path) -> dict[str, float]:
    """Measures of the weights over the whole model; the first of the pair is the anchor."""
    names = [MODELS / name for name in pair]
    run = analyze(MODELS / BASE, names, folder / "+".join(pair), AnalysisSettings(factors=False))
    records = [record for record in run.records() if record["status"] == "done"]
    (model,) = aggregate(records, "model", 1, 2)
    (found,) = model["pairs"]
    conflict = found["conflict"]
    return {
        "relative size of the first": model["relative_size"][0],
        "relative size of the second": model["relative_size"][1],
        "output overlap": found["orthogonality"]["left"],
        "input overlap": found["orthogonality"]["right"],
        **{f"energy of type {name}": found["patterns"][name]["share"] for name in ("A", "B", "C", "D+", "D-", "E")},
        "energy in both spaces": found["blocks"]["both"],
        "energy in neither space": found["blocks"]["none"],
        "alignment of outputs, mean over ranks": found["alignment"]["mean"]["left"],
        "alignment of inputs, mean over ranks": found["alignment"]["mean"]["right"],
        "SAI of the sum for the first": model["sum"]["sai"][0],
        "SAI of the sum for the second": model["sum"]["sai"][1],
        "magnitude change ratio": conflict["magnitude_change"],
        "sign change ratio": conflict["sign_change"],
        "conflicting magnitude change ratio": conflict["conflicting_magnitude_change"],
        "cosine, whole model": conflict["cosine"],
        "cosine, mean over matrices": conflict["mean_cosine"],
    }


def hidden_states() -> dict[tuple[str, str], dict[str, float]]:
    """Measures of the hidden states, of all three fine-tunes as one group, on the held-out data."""
    sources = tuple(str(MODELS / name) for name in FINE_TUNED)
    data = tuple(DATA / f"{name}.txt" for name in FINE_TUNED)
    found = run_represent(RepresentRequest(str(MODELS / BASE), sources, data, samples=SAMPLES))
    words = {"last": "at the last token", "mean": "averaged over tokens"}
    return {
        (FINE_TUNED[i], FINE_TUNED[j]): {
            f"{measure} {words[where]}": found[where][key][i][j]
            for where in words
            for measure, key in (
                ("hidden-state distance", "distance"),
                ("relative distance", "relative"),
                ("HiddenSim", "hidden_sim"),
            )
        }
        for i, j in combinations(range(len(FINE_TUNED)), 2)
    }


def losses(pair: tuple[str, str], results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Merging loss L = P(merged) / P(fine-tuned) − 1 of each of the pair on its own task, and their mean.

    P is the share of exact answers for math, and one over the bits per byte for the texts: more is better for both.
    """
    found: dict[str, float] = {}
    for merge in MERGES:
        merged = results[f"{merge} {'+'.join(pair)}"]
        each = [_performance(merged, task) / _performance(results[task], task) - 1 for task in pair]
        found[f"loss of the first, {merge}"], found[f"loss of the second, {merge}"] = each
        found[f"mean loss, {merge}"] = sum(each) / len(each)
    return found


def _performance(scores: dict[str, float], task: str) -> float:
    return scores["math_exact"] if task == "math" else 1.0 / scores[f"{task}_bits"]


def table(rows: dict[str, dict[str, float]]) -> str:
    """A row for each measure, a column for each pair, as Markdown."""
    lines = ["| measure | " + " | ".join(rows) + " |", "| --- |" + " ---: |" * len(rows)]
    for name in next(iter(rows.values())):
        lines.append(f"| {name} | " + " | ".join(f"{_short(found[name])}" for found in rows.values()) + " |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.3f}".replace("-", "−") if abs(value) < 100 else f"{value:.0f}"


def main() -> None:
    """Measure, and write the results and the table."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    hidden = hidden_states()
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            " + ".join(pair): {**weights(pair, Path(folder)), **hidden[pair], **losses(pair, results)} for pair in PAIRS
        }
    OUT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), MARKERS, table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
