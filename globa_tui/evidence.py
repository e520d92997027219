"""How suggestions fared where it was measured: what `make study` found, as it came with the program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

FOUND = Path(__file__).with_name("calibration.json")

Basis = Literal["weights", "sweep", "evaluation"]
"""What a suggestion is from: the weights alone, a sweep, or merges that were evaluated."""


def evidence(basis: Basis) -> str | None:
    """Say in a sentence how often such a suggestion beat each untuned method on data apart; None where not known."""
    if basis == "evaluation":
        return None
    found: Mapping[str, Any] = json.loads(FOUND.read_text(encoding="utf-8"))
    wins = found[basis]["harmonic"]["wins"]
    what = "a start from the weights alone" if basis == "weights" else "the best of a sweep"
    beaten = ", ".join(f"{rival} in {wins[rival]}" for rival in found["rivals"])
    return f"evidence: on {found['pairs']} pairs of small fine-tunes {what} beat {beaten} (docs/calibration.md)"
