"""What a report says about a run, as plain values: texts that are safe to show, numbers, and small arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from globa_tui import __version__
from globa_tui.cli.layers import finite
from globa_tui.diagnostics import printable
from globa_tui.findings import SURE, Finding, findings_of
from globa_tui.tui.block_map import block_map
from globa_tui.tui.hidden import read_hidden
from globa_tui.tui.metrics import METRICS, PATTERN_WORDS, TYPES
from store.errors import RunDamagedError
from store.run import Run, read_result

if TYPE_CHECKING:
    import numpy as np

MOST_PICTURED = 400
"""Layers with spectra and pictures; of a larger model those whose task vectors are longest."""
MOST_POINTS = 64
"""Points of a spectrum in the report: all of a short one, evenly spread on a logarithmic axis of a longer one."""

Remark = Callable[[str], None]


def content(run: Run, recipe: str | None = None, remark: Remark = lambda text: None) -> dict[str, Any]:
    """Everything that the page shows.

    Parameters
    ----------
    run
        The run; a damaged array of a layer is remarked on and left out.
    recipe
        Text of a recipe file.
    remark
        Takes a line about what was left out.
    """
    hidden = read_hidden(run.path)
    records = [record | (hidden.of(record) if hidden else {}) for record in run.records()]
    representation = read_result(run.path)
    sources = [printable(source.get("source")) for source in run.manifest["sources"]]
    found: dict[str, Any] = {
        "title": printable(run.path.name),
        "version": __version__,
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "base": sources[0],
        "fine_tuned": sources[1:],
        "settings": {key: printable(_plain(value)) for key, value in run.manifest["settings"].items()},
        "counts": {
            state: sum(r["status"] == state for r in records) for state in ("done", "failed", "pending", "skipped")
        },
        "findings": [_finding(one) for one in findings_of(run.manifest, records, representation)],
        "sure": dict(SURE),
        "types": {name: PATTERN_WORDS[name] for name in TYPES},
        "totals": totals(records),
        "metrics": [_metric(metric) for metric in METRICS],
        "layers": [_layer(record) for record in records if record["role"] == "matrix"],
        "map": _map(records),
        "pictures": _pictures(run, records, remark),
        "representation": _representation(representation),
        "recipe": None if recipe is None else "\n".join(printable(line) for line in recipe.splitlines()),
    }
    plain: dict[str, Any] = finite(found)
    return plain


def totals(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Energy of each overlap type over all analysed layers."""
    sums = dict.fromkeys(TYPES, 0.0)
    for record in records:
        for name in TYPES if record["status"] == "done" else ():
            sums[name] += record["patterns"][name]["energy"]
    return sums


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "code": found.code,
        "sure": found.sure,
        "text": printable(found.text),
        "layers": [printable(name) for name in found.layers],
    }


def _metric(metric: Any) -> dict[str, Any]:
    return {
        "key": metric.key,
        "heading": metric.heading,
        "title": metric.title,
        "meaning": metric.meaning,
        "unit": metric.unit,
        "factor": metric.factor,
        "per_task": metric.per_task,
        "table": metric.show != "layer",
    }


def _layer(record: Mapping[str, Any]) -> dict[str, Any]:
    done = record["status"] == "done"
    return {
        "index": record["index"],
        "name": printable(record["name"]),
        "kind": printable(record.get("kind")),
        "block": record.get("block"),
        "shape": list(record.get("shape") or ()),
        "status": record["status"],
        "error": printable(record["error"]) if record.get("error") else None,
        "values": [[_short(value) for value in metric.values(record)] for metric in METRICS] if done else None,
    }


def _short(value: float | None) -> float | None:
    """Five significant digits: more than anybody reads, and half the size."""
    return None if value is None else float(f"{value:.5g}")


def _map(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    grid = block_map(records)
    rows = [
        {"label": printable(row.label), "cells": [[records[at]["index"] for at in cell] for cell in row.cells]}
        for row in grid.rows
    ]
    return {"blocks": list(grid.blocks), "rows": rows}


def _pictures(run: Run, records: Sequence[Mapping[str, Any]], remark: Remark) -> dict[str, Any]:
    """Spectra, angles, alignment and type map, by the index of the layer."""
    done = [record for record in records if record["status"] == "done"]
    done.sort(key=lambda record: -max(float(norm or 0.0) for norm in record["norm"]["task_vectors"]))
    if len(done) > MOST_PICTURED:
        remark(
            f"spectra and pictures of the {MOST_PICTURED} layers that moved most; {len(done)} are too many for a page"
        )
    found: dict[str, Any] = {}
    for record in done[:MOST_PICTURED]:
        try:
            found[str(record["index"])] = _picture(run, record["index"])
        except RunDamagedError as error:
            remark(str(error))
    return found


def _picture(run: Run, index: int) -> dict[str, Any]:
    wanted = ("spectrum", "principal_angles", "alignment", "type_map")
    names = [name for name in run.array_names(index) if name.split("/")[0] in wanted and "similarity" not in name]
    arrays = run.arrays(index, names)
    spectra = sorted((name for name in names if name.startswith("spectrum/")), key=lambda name: int(name[9:]))
    return {
        "spectra": [_spectrum(arrays[name]) for name in spectra],
        "alignment": [[_name(name), _numbers(arrays[name])] for name in names if name.startswith("alignment/")],
        "angles": [[_name(name), _histogram(arrays[name])] for name in names if name.startswith("principal_angles/")],
        "types": [[_name(name), _rows(arrays[name])] for name in names if name.startswith("type_map")],
    }


def _name(array: str) -> str:
    return printable(array.partition("/")[2].replace("/", ", fine-tune "))


def _spectrum(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    import numpy as np

    count = len(values)
    if count <= MOST_POINTS:
        places = np.arange(count)
    else:
        places = np.unique(np.geomspace(1, count, MOST_POINTS).round().astype(int)) - 1
    return {"at": (places + 1).tolist(), "value": _numbers(values[places])}


def _numbers(values: np.ndarray[Any, Any]) -> list[float | None]:
    return [_short(float(value)) for value in values]


def _histogram(angles: np.ndarray[Any, Any]) -> list[int]:
    """Counts per ten degrees."""
    import numpy as np

    counts, _ = np.histogram(np.clip(np.rad2deg(angles), 0.0, 90.0), bins=9, range=(0.0, 90.0))
    return [int(count) for count in counts]


def _rows(codes: np.ndarray[Any, Any]) -> list[str]:
    """A row of the type map as a text of digits."""
    return ["".join(str(min(int(code), 9)) for code in row) for row in codes]


def _representation(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    from globa_tui.cli.represent_table import model_names, sentences

    measured = found[found["position"]]
    return {
        "names": [printable(name) for name in model_names(found)],
        "sentences": [printable(one) for one in sentences(found)],
        "distance": measured["distance"],
        "relative": measured["relative"],
        "hidden_sim": measured["hidden_sim"],
        "mds": measured["mds"],
        "layers": [one["layer"] for one in measured["by_layer"]],
        "by_layer": [one["relative"] for one in measured["by_layer"]],
    }
