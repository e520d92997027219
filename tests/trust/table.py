"""The table of docs/reliability.md, made from what a soak wrote down.

python -m tests.trust.table NOTES.jsonl           adds the notes up in docs/reliability.json and renews the table
python -m tests.trust.table --keep NOTES.jsonl    the same, and rows that the notes say nothing about stay
python -m tests.trust.table                       renews the table alone
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "reliability.json"
PAGE = DOCS / "reliability.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

GROUPS = {
    "at a random moment": "Signals at random moments",
    "at open": "Faults of the disk",
    "at write": "Faults of the disk",
    "at fsync": "Faults of the disk",
    "at rename": "Faults of the disk",
    "at read": "Faults of the disk",
    "SHORT ": "Faults of the disk",
    "HALF write": "Faults of the disk",
    "under the job": "Several processes, machines, clocks",
    "changed ": "Changed files",
    "fuzzed ": "Changed files",
    "config.json: ": "Models that are run",
    "out of the model": "Models that are run",
    "code beside": "Models that are run",
    "data: ": "Models that are run",
    "as a file of": "Links, pipes, devices, folders",
    "outside the folder": "Links, pipes, devices, folders",
}


def add_up(notes: Path) -> list[dict[str, Any]]:
    """One row for each operation and fault, with how often each outcome was seen."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for line in notes.read_text().splitlines():
        one = json.loads(line)
        found.setdefault((one["operation"], one["fault"]), Counter())[one["outcome"]] += one["times"]
    return [
        {"operation": operation, "fault": fault, "outcomes": dict(outcomes.most_common())}
        for (operation, fault), outcomes in sorted(found.items())
    ]


def group_of(fault: str) -> str:
    """Heading under which a fault stands."""
    return next((group for part, group in GROUPS.items() if part in fault), "Several processes, machines, clocks")


def table(rows: list[dict[str, Any]]) -> str:
    """The table in Markdown, one part for each kind of fault."""
    text = ""
    for group in ("Signals at random moments", "Faults of the disk", "Several processes, machines, clocks",
                  "Links, pipes, devices, folders", "Models that are run", "Changed files"):  # fmt: skip
        mine = [row for row in rows if group_of(row["fault"]) == group]
        if not mine:
            continue
        total = sum(sum(row["outcomes"].values()) for row in mine)
        text += (
            f"\n### {group}: {total:,} trials\n\n| fault | command | tried | outcome |\n| --- | --- | ---: | --- |\n"
        )
        for row in sorted(mine, key=lambda row: (row["fault"], row["operation"])):
            outcomes = row["outcomes"]
            said = "; ".join(f"{name} ({count:,})" if len(outcomes) > 1 else name for name, count in outcomes.items())
            text += f"| {row['fault']} | {row['operation']} | {sum(outcomes.values()):,} | {said} |\n"
    return text + "\n"


def page(text: str, rows: list[dict[str, Any]]) -> str:
    """The page with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(rows) + END + after


def renewed(before: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and those from before that are about something else."""
    found = {(row["operation"], row["fault"]): row for row in (*before, *rows)}
    return [found[key] for key in sorted(found)]


def main() -> None:
    keep, notes = "--keep" in sys.argv, [Path(word) for word in sys.argv[1:] if word != "--keep"]
    for rows in map(add_up, notes):
        before = json.loads(RESULTS.read_text()) if keep else []
        RESULTS.write_text(json.dumps(renewed(before, rows), indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
