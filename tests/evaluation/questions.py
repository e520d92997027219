"""Questions and texts from the demo's held-out data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parents[2] / "demo"
MODELS = DEMO / "models"
EXAMPLES = "7+61=68\n90-35=55\n4*12=48\n"


def sums(count: int) -> list[dict[str, Any]]:
    """Held-out sums as rows of prompt, answer and stop."""
    lines = (DEMO / "data" / "math.txt").read_text(encoding="utf-8").splitlines()[:count]
    pairs = (line.split("=") for line in lines)
    return [{"prompt": f"{EXAMPLES}{sum_}=", "answer": answer, "stop": "\n"} for sum_, answer in pairs]


def write_rows(path: Path, rows: Iterable[object]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_text(path: Path, size: int = 3000) -> Path:
    """The start of the demo's held-out code."""
    path.write_text((DEMO / "data" / "code.txt").read_text(encoding="utf-8")[:size], encoding="utf-8")
    return path
