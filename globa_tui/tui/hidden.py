"""What `represent` kept beside a run, for the interface: numbers per block, a line, a page. Read in the disk thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from globa_tui.diagnostics import printable
from store.errors import StoreError
from store.run.layout import REPRESENTATION, RESULT

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Hidden:
    """Distances of hidden states."""

    line: str
    """In a few words."""
    page: str
    """What ``show --representation`` prints."""
    blocks: Mapping[int, Mapping[str, Any]]
    """After each block `apart`, the largest relative distance of two fine-tunes, and `moved`, of each from the base."""

    def of(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """What to add to a layer's record."""
        found = self.blocks.get(record["block"]) if record.get("block") is not None else None
        return {"hidden": found} if found else {}


def hidden_stamp(run: Path) -> int:
    """Another number after each time that `represent` wrote."""
    try:
        return (run / REPRESENTATION / RESULT).stat().st_mtime_ns
    except OSError:
        return 0


def read_hidden(run: Path) -> Hidden | None:
    """What is there; None where there is nothing, or nothing that this program writes."""
    from globa_tui.cli.represent_table import representation_text
    from store.run import read_result

    try:
        result = read_result(run)
        if result is None:
            return None
        return Hidden(_line(result), representation_text(result), _blocks(result))
    except (StoreError, KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None


def _line(result: Result) -> str:
    relative = result[result["position"]]["relative"]
    pairs = [100 * float(relative[i][j]) for i, j in combinations(range(len(relative)), 2)]
    span = f"{min(pairs):.0f}-{max(pairs):.0f}" if len(pairs) > 1 else f"{pairs[0]:.0f}"
    where = "last token" if result["position"] == "last" else "mean of tokens"
    return printable(f"{span} % apart ({where}, {int(result['inputs']['count'])} inputs); H")


def _blocks(result: Result) -> dict[int, dict[str, Any]]:
    """By block: entry n of `by_layer` is what comes out of block n - 1, the first one out of the embeddings."""
    found = {}
    for entry in result[result["position"]]["by_layer"]:
        relative = entry["relative"]
        apart = max(float(relative[i][j]) for i, j in combinations(range(len(relative)), 2))
        found[int(entry["layer"]) - 1] = {"apart": apart, "moved": [float(x) for x in entry["from_base"]["relative"]]}
    return found
