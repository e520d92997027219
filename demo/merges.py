"""What GLOBA's coefficients do to the demo family, measured: ``python -m demo.merges`` writes the table in the README.

Every merge is made by the program itself and evaluated from its folder, as a user would.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TypedDict

from demo.evaluate import evaluate
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.presets import merge_preset
from globa_tui.recipe import Recipe

ROOT = Path(__file__).parent
MODELS = ROOT / "models"
README = ROOT / "README.md"
RESULTS = ROOT / "merges.json"
BEGIN, END = "<!-- merges: python -m demo.merges -->", "<!-- end of merges -->"
SETTINGS = {
    "defaults": AnalysisSettings(),
    "anchored basis": AnalysisSettings(basis="anchored"),
    "embeddings averaged": AnalysisSettings(exclude=("embed_tokens",)),
}
PRESETS = ("readme", "a-only", "all", "uniform-0.6")
TASKS = ("math", "code")
COLUMNS = ("math_exact", "math_bits", "code_bits", "prose_bits")


class Row(TypedDict):
    """One merged model and its scores."""

    merge: str
    scores: dict[str, float]


def measure(folder: Path) -> list[Row]:
    """Merge math and code in every way and evaluate each merge."""
    base, tuned = str(MODELS / "base"), tuple(str(MODELS / task) for task in TASKS)
    rows: list[Row] = []
    for name, settings in SETTINGS.items():
        run = folder / f"{len(rows)}.globa"
        run_analysis(AnalysisRequest(base, tuned, run, settings))
        for preset in PRESETS:
            recipe = Recipe(run=str(run), coefficients=merge_preset(preset).coefficients)
            rows.append(_row(folder, f"globa {preset}, {name}", recipe))
    for name, method, params in (
        ("plain sum", "task_arithmetic", {}),
        ("sum at 0.6", "task_arithmetic", {"scale": 0.6}),
        ("average", "linear", {}),
    ):
        rows.append(_row(folder, name, Recipe(base=base, fine_tuned=tuned, method=method, params=params)))
    return rows


def _row(folder: Path, name: str, recipe: Recipe) -> Row:
    out = folder / name.replace(" ", "-").replace(",", "")
    run_merge(recipe, out)
    scores = evaluate(out)
    return {"merge": name, "scores": {column: round(scores[column], 4) for column in COLUMNS}}


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| merge of math and code | math: exact | math: bits per byte | code: bits per byte | prose: bits per byte |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [f"| {row['merge']} | " + " | ".join(f"{row['scores'][c]:.3f}" for c in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the results and the table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
