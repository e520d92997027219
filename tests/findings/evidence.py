"""Records made up for the rules: what a run would say whose every number is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from globa_tui.findings import Evidence, Finding, find

TYPES = ("A", "B", "C", "D+", "D-", "E")


def layer(
    name: str = "model.layers.0.mlp.up_proj.weight",
    kind: str = "up_proj",
    block: int | None = 0,
    norms: Sequence[float] = (1.0, 1.0),
    types: dict[str, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A finished layer: the anchor's energy is its norm squared, the other's is spread over the types."""
    spread = types or dict.fromkeys(TYPES, norms[1] ** 2 / len(TYPES))
    patterns = {"C1": norms[0] ** 2, **dict.fromkeys(TYPES, 0.0), **spread}
    return {
        "index": 0,
        "name": name,
        "kind": kind,
        "block": block,
        "shape": [32, 64],
        "status": "done",
        "norm": {"base": 10.0, "task_vectors": list(norms)},
        "rank": [4] * len(norms),
        "stable_rank": [2.0] * len(norms),
        "retained": [1.0] * len(norms),
        "clusters": {side: {"directions": 0, "energy": 0.0} for side in ("left", "right")},
        "conflict": {"cosine": 0.1},
        "patterns": {key: {"count": 1, "energy": value} for key, value in patterns.items()},
        **more,
    }


def evidence(
    *records: dict[str, Any],
    tasks: int = 2,
    findings: Sequence[dict[str, Any]] = (),
    representation: dict[str, Any] | None = None,
    **settings: Any,
) -> Evidence:
    """A run of these records."""
    manifest = {
        "sources": [{"source": name} for name in ("base", *(f"ft{n + 1}" for n in range(tasks)))],
        "settings": {"basis": "canonical", "anchor": 1, **settings},
        "findings": list(findings),
    }
    return Evidence(manifest, records, representation)


def said(code: str, *records: dict[str, Any], **options: Any) -> list[Finding]:
    """The findings of one rule."""
    return [finding for finding in find(evidence(*records, **options)) if finding.code == code]
