"""What a screen shows as a file: CSV for a spreadsheet, or the records as JSON. Runs in the disk thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from globa_tui.tui.metrics import METRICS

Record = Mapping[str, Any]
WORDS = ("name", "kind", "block", "status")


def export_text(place: Path, records: Sequence[Record]) -> str:
    """The layers in their order, every number unrounded: JSON for a name in ``.json``, else CSV.

    The JSON is a list of the records as ``show --json`` has them; the CSV has a column for each value of `METRICS`.
    """
    if place.suffix.lower() == ".json":
        import json

        from globa_tui.cli.layers import finite

        return json.dumps([finite(dict(record)) for record in records], indent=1, allow_nan=False) + "\n"
    from globa_tui.cli.tables import csv_text

    numbers = [(metric, [metric.values(record) for record in records]) for metric in METRICS]
    widths = [max((len(values) for values in found), default=1) for _, found in numbers]
    columns = [*WORDS, "shape"]
    for (metric, _), width in zip(numbers, widths, strict=True):
        columns += [metric.key] if width == 1 else [f"{metric.key}.{number + 1}" for number in range(width)]
    rows = []
    for place_in_table, record in enumerate(records):
        row = [*(record.get(word) for word in WORDS), "x".join(map(str, record.get("shape") or ()))]
        for (_, found), width in zip(numbers, widths, strict=True):
            row += (*found[place_in_table], *[None] * width)[:width]
        rows.append([*row, record.get("error")])
    return csv_text([*columns, "error"], rows)
