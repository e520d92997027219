"""Measure the family and its plain merges: writes demo/results.json and the table in demo/README.md."""

import json
import shutil
import tempfile
from itertools import combinations
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo.evaluate import UNITS, evaluate
from demo.family import BASE, FINE_TUNED, FOLDER, MODELS

RESULTS = FOLDER / "results.json"
README = FOLDER / "README.md"
START, END = "<!-- results: python -m demo.table -->", "<!-- end of results -->"
WEIGHTS = "model.safetensors"


def combine(names: tuple[str, ...], coefficient: float, models: Path = MODELS) -> dict[str, Tensor]:
    """Return base + coefficient · Σ (fine-tuned − base), computed in float32, rounded to bfloat16.

    A coefficient of 1 is the plain sum of task vectors, 1 / number of models the average of the models.
    """
    base = load_file(models / BASE / WEIGHTS)
    merged = {name: weight.float() for name, weight in base.items()}
    for fine_tuned in names:
        weights = load_file(models / fine_tuned / WEIGHTS)
        for name, weight in weights.items():
            merged[name] += coefficient * (weight.float() - base[name].float())
    return {name: weight.to(torch.bfloat16) for name, weight in merged.items()}


def evaluate_combined(names: tuple[str, ...], coefficient: float) -> dict[str, float]:
    """Write a plain merge as a model folder, evaluate it, and remove it again."""
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged"
        shutil.copytree(MODELS / BASE, merged)
        save_file(combine(names, coefficient), merged / WEIGHTS, metadata={"format": "pt"})
        return evaluate(merged)


def measure() -> dict[str, dict[str, float]]:
    """Return the results of every member, then of the sum and the average of every pair and of all three."""
    results = {name: evaluate(MODELS / name) for name in (BASE, *FINE_TUNED)}
    groups = [*combinations(FINE_TUNED, 2), FINE_TUNED]
    for title, shared in (("sum", False), ("average", True)):
        for names in groups:
            coefficient = 1 / len(names) if shared else 1.0
            results[f"{title} {'+'.join(names)}"] = evaluate_combined(names, coefficient)
    return results


def as_markdown(results: dict[str, dict[str, float]]) -> str:
    """Return the results as a Markdown table, a model per row."""
    head = ["model", *(f"{task}: {unit}" for task, unit, _ in UNITS.values())]
    lines = [" | ".join(head), " | ".join(["---", *["---:"] * len(UNITS)])]
    for model, values in results.items():
        cells = [f"{values[key]:.{digits}f}" for key, (_, _, digits) in UNITS.items()]
        lines.append(" | ".join([model, *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def write_readme(table: str) -> None:
    """Replace what stands between the two markers in demo/README.md."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    README.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")


def main() -> None:
    results = measure()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = as_markdown(results)
    write_readme(table)
    print(table)


if __name__ == "__main__":
    main()
