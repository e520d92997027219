"""Every merge method on the demo family, measured: ``python -m demo.methods_table`` writes docs/methods.md's tables.

Every merge is made by the program itself and evaluated from its folder. ``--parameters`` writes only the tables of
parameters, which are read off the registry.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, TypedDict

from analysis.merge import METHODS, MergeMethod, Parameter
from demo.evaluate import evaluate
from demo.family import BASE, FOLDER, MODELS
from globa_tui.jobs.merge import run_merge
from globa_tui.recipe import Recipe
from globa_tui.values import param_text

PAGE = FOLDER.parent / "docs" / "methods.md"
RESULTS = FOLDER / "methods.json"
MEASURED = "<!-- measured: python -m demo.methods_table -->", "<!-- end of measured -->"
PARAMETERS = "<!-- parameters: python -m demo.methods_table --parameters -->", "<!-- end of parameters -->"
PAIR, TRIPLE = ("math", "code"), ("math", "code", "prose")
COLUMNS = ("math_exact", "math_bits", "code_bits", "prose_bits")
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((name, {}) for name in METHODS),
    ("task_arithmetic", {"scale": 0.6}),
    ("ties", {"variant": "mergekit", "density": 0.2}),
    ("ties", {"variant": "peft"}),
    ("dare_linear", {"scale": 0.6}),
    ("alignmerge_b", {"ratio": "exact"}),
    ("alignmerge_b", {"base_method": "ties"}),
    ("tsv_m", {"embeddings": "svd"}),
    ("alignmerge_o", {"variant": "paper"}),
)


class Row(TypedDict):
    """One merged model, or a member of the family, and its scores."""

    models: str
    merge: str
    scores: dict[str, float]


def measure(folder: Path) -> list[Row]:
    """Evaluate the members, then every merge of two and of three of them."""
    rows: list[Row] = [_row("", name, MODELS / name) for name in (BASE, *TRIPLE)]
    for names in (PAIR, TRIPLE):
        for method, params in SETTINGS:
            if method == "slerp" and len(names) > 2:
                continue
            out = folder / f"{len(rows)}"
            tuned = tuple(str(MODELS / name) for name in names)
            run_merge(Recipe(base=str(MODELS / BASE), fine_tuned=tuned, method=method, params=params), out)
            chosen = "".join(f" {key}={param_text(value)}" for key, value in params.items())
            rows.append(_row("+".join(names), f"{method}{chosen}", out))
            print(rows[-1], flush=True)
    return rows


def _row(models: str, merge: str, folder: Path) -> Row:
    scores = evaluate(folder)
    return {"models": models, "merge": merge, "scores": {column: round(scores[column], 6) for column in COLUMNS}}


def measured_table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| models | merge | math: exact | math: bits per byte | code: bits per byte | prose: bits per byte |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        scores = " | ".join(f"{row['scores'][column]:.3f}" for column in COLUMNS)
        name = row["merge"] if not row["models"] else f"`{row['merge']}`"
        lines.append(f"| {row['models']} | {name} | {scores} |")
    return "\n".join(lines)


def parameter_tables() -> str:
    """One table of parameters per method, as the registry has them."""
    return "\n\n".join(_parameter_table(method) for method in METHODS.values())


def _parameter_table(method: MergeMethod) -> str:
    lines = [f"### `{method.name}` parameters", "", f"Source: {method.source}.", ""]
    lines += ["| parameter | default | may be | what it does |", "| --- | --- | --- | --- |"]
    lines += [_parameter_line(parameter) for parameter in method.known({}).values() if _is_own(method, parameter)]
    if method.variants:
        lines += ["", "| variant | changes |", "| --- | --- |"]
        for name, changes in method.variants.items():
            words = [f"`{key}={_text(value)}`" for key, value in changes.items()]
            lines.append(f"| `{name}` | {', '.join(words) or 'nothing: the defaults above'} |")
    return "\n".join(lines)


def _is_own(method: MergeMethod, parameter: Parameter) -> bool:
    """Not the parameters that AlignMerge-B takes for the method below it."""
    return parameter.name in {one.name for one in method.parameters}


def _parameter_line(parameter: Parameter) -> str:
    cells = (f"`{parameter.name}`", f"`{_text(parameter.default)}`", parameter.allowed, parameter.summary)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _text(value: Any) -> str:
    return "(1)" if value == () else param_text(value)


def written(page: str, markers: tuple[str, str], text: str) -> str:
    """The page with what stands between the markers replaced."""
    before, rest = page.split(markers[0])
    return f"{before}{markers[0]}\n{text}\n{markers[1]}{rest.split(markers[1])[1]}"


def main() -> None:
    """Measure, and write the results and the tables."""
    parser = argparse.ArgumentParser(prog="python -m demo.methods_table", description=__doc__)
    parser.add_argument("--parameters", action="store_true", help="only the tables of parameters")
    page = PAGE.read_text(encoding="utf-8")
    if not parser.parse_args().parameters:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(Path(folder))
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        page = written(page, MEASURED, measured_table(rows))
    PAGE.write_text(written(page, PARAMETERS, parameter_tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
