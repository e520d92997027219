"""How much is tried: a little in every test run, a lot in `make soak`; and the notes that the table is made of."""

from __future__ import annotations

import json
import os
from pathlib import Path

SOAK = os.environ.get("GLOBA_SOAK") == "1"
NOTES = "GLOBA_TRUST_NOTES"


def rounds(short: int, long: int) -> int:
    """How often something is tried."""
    return long if SOAK else short


def note(operation: str, fault: str, outcome: str, times: int = 1) -> None:
    """Write down what became of a trial, for `tests.trust.table`; does nothing unless a file is named for it."""
    place = os.environ.get(NOTES)
    if place:
        line = json.dumps({"operation": operation, "fault": fault, "outcome": outcome, "times": times}) + "\n"
        descriptor = os.open(Path(place), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.write(descriptor, line.encode())
        os.close(descriptor)
