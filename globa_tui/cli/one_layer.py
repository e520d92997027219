"""Every number of one layer, with what it means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from globa_tui.cli.layers import TYPES
from globa_tui.cli.tables import Table
from globa_tui.coefficients import PATTERNS

PATTERN_MEANING: Mapping[str, str] = {
    "C1": "the first task's own entries",
    "A": "rows and columns that task 1 leaves empty: fully orthogonal",
    "B": "column shared with task 1, row not: new output directions",
    "C": "row shared with task 1, column not: new input directions",
    "D+": "same entry as task 1, same sign",
    "D-": "same entry as task 1, opposite sign",
    "E": "row and column shared with task 1, entry not",
}

_MEANING: Mapping[str, str] = {
    "name": "tensor name in the base",
    "shape": "rows (outputs) x columns (inputs)",
    "kind": "what the matrix does in its block",
    "block": "number of the transformer block",
    "role": "matrix, vector or other",
    "status": "done, pending, failed or skipped",
    "error": "why the layer failed or was skipped",
    "seconds": "time the analysis took",
    "norm.base": "Frobenius norm of the base weight",
    "norm.task_vectors": "Frobenius norm of each task vector (fine-tuned - base)",
    "relative_size": "norm of each task vector over the norm of the base",
    "decomposition": "how the singular vectors of each task vector were computed",
    "rank": "directions kept of each task vector (--svd-energy)",
    "basis_rank": "directions of the global basis: outputs, inputs",
    "clusters.left.directions": "output directions in clusters of equal singular values, which LAPACK turns freely",
    "clusters.left.energy": "energy of the task vectors in those",
    "clusters.right.directions": "input directions in clusters of equal singular values, which LAPACK turns freely",
    "clusters.right.energy": "energy of the task vectors in those",
    "inner.C1.D+": "inner product of C1 and D+",
    "inner.C1.D-": "inner product of C1 and D-",
    "orthogonality.left": "overlap of the output spaces: 0 orthogonal, 1 contained",
    "orthogonality.right": "overlap of the input spaces: 0 orthogonal, 1 contained",
    "retained": "energy kept by pruning over the energy of each truncated task vector (--eta)",
    "stable_rank": "squared Frobenius norm over squared largest singular value, of each task vector",
    "effective_rank": "exponential of the entropy of the singular values, of each task vector",
    "rank_at": "directions that reach this share of each task vector's energy",
    "knee": "knee of the cumulative energy: rank and energy there, a good start for --eta",
    "blocks.both": "share of task 2's energy with both spaces shared with task 1",
    "blocks.left": "share of task 2's energy with only the output space shared",
    "blocks.right": "share of task 2's energy with only the input space shared",
    "blocks.none": "share of task 2's energy in neither space: conflict-free",
    "angles.left": "principal angles of the output spaces, counts for each 10 degrees from 0 to 90",
    "angles.right": "principal angles of the input spaces, counts for each 10 degrees from 0 to 90",
    "alignment.first.left": "|cosine| of the two strongest output directions: 0 apart, 1 the same",
    "alignment.first.right": "|cosine| of the two strongest input directions",
    "alignment.mean.left": "the same, mean over the 32 strongest ranks",
    "alignment.mean.right": "the same for the inputs, mean over the 32 strongest ranks",
    "conflict.magnitude_change": "sum of |difference| over the sum of both magnitudes: 0 moved alike, 1 apart",
    "conflict.sign_change": "share of entries that the two fine-tunes move in different directions, or only one moves",
    "conflict.conflicting_magnitude_change": "magnitude change of those entries alone",
    "conflict.cosine": "cosine of the two task vectors, entry by entry",
    "conflict.zeros": "share of entries that a fine-tune leaves exactly as they were",
    "frozen": "whether a fine-tune left this tensor exactly as it was",
}

_ELSEWHERE = frozenset({"index", "file", "stored", "effect", "pairs", "patterns", "shape"})


def layer_sheet(record: Mapping[str, Any]) -> Table:
    """All numbers of a record, one to a line: what it is, its value, what it means."""
    size = " x ".join(map(str, record.get("shape") or ()))
    rows = [["shape", size, _meaning("shape")]]
    rows += [[label, _text(value), _meaning(label)] for label, value in _flat(record) if value not in (None, {}, [])]
    rows += _pattern_rows("patterns", record.get("patterns") or {})
    for pair in record.get("pairs") or []:
        rows += _pattern_rows(f"task {pair.get('task')}", pair.get("patterns") or {})
    return Table(
        ["number", "value", "meaning"],
        rows,
        words=frozenset({"number", "value", "meaning"}),
        wraps=frozenset({"value", "meaning"}),
    )


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if not prefix and key in _ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _pattern_rows(label: str, patterns: Mapping[str, Any]) -> list[list[str]]:
    retained = sum(patterns[name]["energy"] for name in TYPES if name in patterns)
    rows: list[list[str]] = []
    for name in (name for name in PATTERNS if name in patterns):
        found = patterns[name]
        text = f"{found['count']:,} entries, energy {_text(found['energy'])}"
        if name in TYPES and retained:
            text += f", {100 * found['energy'] / retained:.1f} %"
        rows.append([f"{label}.{name}", text, PATTERN_MEANING[name]])
    return rows


def _meaning(label: str) -> str:
    parent = label.rpartition(".")[0]
    return _MEANING.get(label) or _MEANING.get(parent) or _MEANING.get(label.partition(".")[0], "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return str(value)
