"""A run as the JSON document and the CSV table of `show` and `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from globa_tui.cli import layers, tables
from globa_tui.cli.runs import run_document
from globa_tui.findings import findings_of
from store.run import Run, read_result

Records = Sequence[Mapping[str, Any]]


def json_text(run: Run, shown: Records | None = None) -> str:
    """The document of ``show --json``; `shown` are the layers in it, all by default."""
    records = run.records()
    document = layers.document(run_document(run, records), records if shown is None else shown)
    document["representation"] = read_result(run.path)
    found = findings_of(run.manifest, records, document["representation"])
    document["findings"] = [layers.finite(finding.to_dict()) for finding in found]
    return layers.document_text(document)


def csv_text(run: Run, shown: Records | None = None) -> str:
    """The table of ``show --csv``."""
    tasks = sum(source.get("role") != "base" for source in run.manifest["sources"])
    return tables.csv_text(*layers.csv_rows(run.records() if shown is None else shown, tasks))
