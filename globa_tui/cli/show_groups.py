"""The parts of ``globa-tui show`` that take layers together: ``--by`` and ``--what-if``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from globa_tui.aggregate import BY, By, compared_pairs, run_anchor
from globa_tui.cli import groups, tables, what_if_table
from globa_tui.cli.layers import SCHEMA, finite
from globa_tui.cli.runs import run_document
from globa_tui.diagnostics import UsageError, say

if TYPE_CHECKING:
    from store.run import Run

Pair = tuple[int, int]


def chosen_by(value: str | None) -> By:
    """What `--by` says; the whole model when it says nothing."""
    if value is not None and value not in BY:
        msg = f"--by is {value!r}; choose one of {', '.join(BY)}"
        raise UsageError(msg)
    return value or "model"


def chosen_pair(value: str | None, compared: Sequence[Pair]) -> Pair | None:
    """What `--pair ANCHOR,TASK` says, checked against the pairs that the run compares."""
    if value is None:
        return None
    numbers = value.replace("-", ",").split(",")
    pair = tuple(int(number) for number in numbers if number.strip().isdecimal())
    if len(numbers) != 2 or pair not in compared:
        known = " ".join(f"{one},{two}" for one, two in compared[:12])
        msg = f"--pair is {value!r}; this run compares {known} (analyze --pairs all compares every pair)"
        raise UsageError(msg)
    return pair[0], pair[1]


def show_groups(run: Run, by: str | None, pair: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Print the groups of a run."""
    records, kind, tasks = run.records(), chosen_by(by), _tasks(run)
    settings = run.manifest["settings"]
    chosen = chosen_pair(pair, compared_pairs(settings, tasks))
    found = groups.groups(records, kind, run_anchor(settings), tasks, chosen)
    if as_json:
        _print_json(run, records, {"by": kind, "groups": found})
    elif as_csv:
        sys.stdout.write(tables.csv_text(*groups.group_csv(found, kind)))
    else:
        tables.show_table(groups.group_table(found, kind))
        for remark in groups.group_remarks(found, kind):
            say(remark)


def show_what_if(
    run: Run, records: Sequence[Mapping[str, Any]], by: str | None, pair: str | None, *, as_json: bool, as_csv: bool
) -> None:
    """Print the patterns of these layers at every pair of thresholds that the analysis looked at."""
    from globa_tui.what_if import what_if_totals

    kind, tasks, settings = chosen_by(by), _tasks(run), run.manifest["settings"]
    chosen = chosen_pair(pair, compared_pairs(settings, tasks))
    found = what_if_totals(run, records, kind, run_anchor(settings), tasks, chosen)
    own = settings["eta"]
    if as_json:
        document = what_if_table.what_if_document(found.totals, kind, own)
        _print_json(run, run.records(), {"by": kind, "what_if": document, "layers_without": found.without})
    elif as_csv:
        sys.stdout.write(tables.csv_text(*what_if_table.what_if_csv(found.totals, kind)))
    else:
        tables.show_table(what_if_table.what_if_table(found.totals, kind, own))
    if found.without:
        say(f"{found.without} layers were analysed by an older version and have no grid; analyze --fresh makes one")


def _tasks(run: Run) -> int:
    return sum(source.get("role") != "base" for source in run.manifest["sources"])


def _print_json(run: Run, records: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> None:
    document = {"schema": SCHEMA, "run": run_document(run, records), **found}
    print(json.dumps(finite(document), allow_nan=False))
