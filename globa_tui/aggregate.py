"""Numbers of many layers together: per kind of module, per block, for the model; pair by pair.

Counts, energies and the sums that conflicts are made of are added, so that the ratios of a group are those of one long
vector. What is a share of a task vector's energy is weighted with that energy. Works on records alone, without torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from globa_tui.coefficients import PATTERNS

Record = Mapping[str, Any]
By = Literal["kind", "block", "model"]
BY: tuple[By, ...] = ("kind", "block", "model")

_SIDES = ("left", "right")
_BLOCKS = ("both", "left", "right", "none")
_SUMS = ("entries", "difference", "magnitudes", "sign_changes", "conflicting_difference", "product")
_MATRICES: Mapping[str, tuple[str, ...]] = {
    "cosine": ("conflict", "cosine"),
    "magnitude_change": ("conflict", "magnitude_change"),
    "sign_change": ("conflict", "sign_change"),
    "conflicting_magnitude_change": ("conflict", "conflicting_magnitude_change"),
    "orthogonality_left": ("orthogonality", "left"),
    "orthogonality_right": ("orthogonality", "right"),
    "conflict_free": ("blocks", "none"),
}
"""Numbers of a pair that make a matrix over all fine-tunes; of the last, row i and column j are τ_j against τ_i."""


def pair_records(record: Record, anchor: int, tasks: int) -> list[Record]:
    """The pairs of a finished layer, each with `anchor` and `task`; also of runs that keep the only one at the top."""
    pairs = record.get("pairs")
    if pairs:
        return [{"anchor": anchor, **pair} for pair in pairs]
    keys = ("patterns", "inner", "orthogonality", "blocks", "angles", "alignment", "conflict")
    other = next(task for task in range(1, tasks + 1) if task != anchor)
    return [{"anchor": anchor, "task": other, **{key: record[key] for key in keys if key in record}}]


def aggregate(records: Iterable[Record], by: By, anchor: int, tasks: int) -> list[dict[str, Any]]:
    """Groups of finished layers in the order of the model, each with its `pairs` and what belongs to no pair."""
    groups: dict[str | int | None, list[Record]] = {}
    for record in records:
        if record["status"] == "done":
            groups.setdefault("model" if by == "model" else record.get(by), []).append(record)
    return [{by: name, **_group(members, anchor, tasks)} for name, members in groups.items()]


def _group(records: Sequence[Record], anchor: int, tasks: int) -> dict[str, Any]:
    each: dict[tuple[int, int], list[tuple[Record, Record]]] = {}
    for record in records:
        for pair in pair_records(record, anchor, tasks):
            each.setdefault((pair["anchor"], pair["task"]), []).append((record, pair))
    pairs = [_pair(one, two, found) for (one, two), found in each.items()]
    norms = [[_at(record, "norm", "task_vectors", task) for record in records] for task in range(tasks)]
    energies = [_square_sum(values) for values in norms]
    base = _square_sum([_at(record, "norm", "base") for record in records])
    found: dict[str, Any] = {
        "layers": len(records),
        "entries": sum(math.prod(record.get("shape") or (0,)) for record in records),
        "energy": energies,
        "relative_size": [math.sqrt(energy / base) if base > 0 else None for energy in energies],
        "knee_energy": [_knee(records, task) for task in range(tasks)],
        "pairs": pairs,
        "sum": summed_alignment(records, tasks),
    }
    if tasks > 2:
        found["union"] = _unions(records, tasks)
        found["matrices"] = matrices(pairs, tasks)
    return found


def matrices(pairs: Sequence[Record], tasks: int) -> dict[str, list[list[float | None]]]:
    """Numbers of pairs as matrices over all fine-tunes; None where that pair was not compared."""
    found = {}
    for name, path in _MATRICES.items():
        cells: list[list[float | None]] = [[None] * tasks for _ in range(tasks)]
        for pair in pairs:
            one, two = pair["anchor"] - 1, pair["task"] - 1
            cells[one][two] = _at(pair, *path)
            if name != "conflict_free" and cells[two][one] is None:
                cells[two][one] = cells[one][two]
        found[name] = cells
    return found


def _pair(anchor: int, task: int, found: Sequence[tuple[Record, Record]]) -> dict[str, Any]:
    """One ordered pair over the layers of a group; `found` has (layer's record, pair's record)."""
    pairs = [pair for _, pair in found]
    ranks = [min(_at(record, "rank", number - 1) or 0 for number in (anchor, task)) for record, _ in found]
    energies = [_truncated_energy(record, task) for record, _ in found]
    return {
        "anchor": anchor,
        "task": task,
        "patterns": _patterns(pairs),
        "orthogonality": {side: _weighted(pairs, ranks, "orthogonality", side) for side in _SIDES},
        "blocks": {name: _weighted(pairs, energies, "blocks", name) for name in _BLOCKS},
        "angles": {side: _added([_at(pair, "angles", side) for pair in pairs]) for side in _SIDES},
        "angles_by_energy": {side: _angles(pairs, energies, side) for side in _SIDES},
        "alignment": {
            name: {side: _weighted(pairs, energies, "alignment", name, side) for side in _SIDES}
            for name in ("first", "mean")
        },
        "conflict": _conflict(pairs),
    }


def _truncated_energy(record: Record, task: int) -> float:
    known = _at(record, "effect", "task_energy", task - 1)
    norm = _at(record, "norm", "task_vectors", task - 1)
    return float(known if known is not None else (norm or 0.0) ** 2)


def _patterns(pairs: Sequence[Record]) -> dict[str, Any]:
    """Added over layers; `share` is that of the six types' energy."""
    cells = {
        name: {
            "count": sum(_at(pair, "patterns", name, "count") or 0 for pair in pairs),
            "energy": math.fsum(_at(pair, "patterns", name, "energy") or 0.0 for pair in pairs),
        }
        for name in PATTERNS
    }
    whole = sum(cells[name]["energy"] for name in PATTERNS[1:])
    for name, cell in cells.items():
        cell["share"] = cell["energy"] / whole if whole > 0 and name != "C1" else None
    return cells


def conflict_ratios(sums: Mapping[str, Any]) -> dict[str, Any]:
    """The four metrics from their sums (merging collapse, appendix A, equations 4–7); None where undefined."""
    size = math.sqrt(sums["squares"][0]) * math.sqrt(sums["squares"][1])
    return {
        "magnitude_change": _over(sums["difference"], sums["magnitudes"]),
        "sign_change": _over(sums["sign_changes"], sums["entries"]),
        "conflicting_magnitude_change": _over(sums["conflicting_difference"], sums["magnitudes"]),
        "cosine": _over(sums["product"], size),
        "zeros": [_over(zeros, sums["entries"]) for zeros in sums["zeros"]],
    }


def _conflict(pairs: Sequence[Record]) -> dict[str, Any] | None:
    """Of one long vector; `mean_cosine` is the mean over matrices. None where a layer's sums are not known."""
    sums = [_at(pair, "conflict", "sums") for pair in pairs if pair.get("conflict")]
    if not sums or None in sums:
        return None
    total: dict[str, Any] = {name: math.fsum(one[name] for one in sums) for name in _SUMS}
    total |= {name: [math.fsum(one[name][side] for one in sums) for side in (0, 1)] for name in ("squares", "zeros")}
    cosines = [value for pair in pairs if (value := _at(pair, "conflict", "cosine")) is not None]
    return {
        **conflict_ratios(total),
        "mean_cosine": math.fsum(cosines) / len(cosines) if cosines else None,
        "entries": int(total["entries"]),
    }


def _angles(pairs: Sequence[Record], energies: Sequence[float], side: str) -> list[float] | None:
    """Shares of the principal angles per ten degrees, every layer weighted with its energy; they add up to 1."""
    total, weight = [0.0] * 9, 0.0
    for pair, energy in zip(pairs, energies, strict=True):
        counts = _at(pair, "angles", side)
        number = sum(counts or ())
        if counts and number and energy:
            weight += energy
            total = [one + energy * count / number for one, count in zip(total, counts, strict=True)]
    return [one / weight for one in total] if weight else None


def _knee(records: Sequence[Record], task: int) -> float | None:
    """Energy at the knee of the energy curves, weighted with ‖τ‖²: the η that they suggest."""
    points = [(_at(record, "knee", task, "energy"), _at(record, "norm", "task_vectors", task)) for record in records]
    return _mean_of([(value, norm**2) for value, norm in points if value is not None and norm is not None])


def summed_alignment(records: Sequence[Record], tasks: int) -> dict[str, Any] | None:
    """What a merge does to its tasks (`sum` of records), layers weighted with the energy of their directions."""
    found = [record["sum"] for record in records if (record.get("sum") or {}).get("directions")]
    if not found:
        return None

    def mean(*path: str | int) -> float | None:
        return _mean_of([(value, one["energy"]) for one in found if (value := _at(one, *path)) is not None])

    means = {name: [mean(name, task) for task in range(tasks)] for name in ("sai", "sai_first", "sai_absolute")}
    influence = [[mean("influence", row, column) for column in range(tasks)] for row in range(tasks)]
    return {"layers": len(found), **means, "influence": influence}


def _unions(records: Sequence[Record], tasks: int) -> list[dict[str, Any]]:
    found = []
    for task in range(1, tasks + 1):
        unions = [union for record in records for union in record.get("union") or () if union["task"] == task]
        if unions:
            patterns = _patterns(unions)
            del patterns["C1"]
            found.append({"task": task, "patterns": patterns})
    return found


def _weighted(pairs: Sequence[Record], weights: Sequence[float], *path: str) -> float | None:
    cells = [(_at(pair, *path), weight) for pair, weight in zip(pairs, weights, strict=True)]
    return _mean_of([(value, weight) for value, weight in cells if value is not None])


def _mean_of(cells: Sequence[tuple[float, float]]) -> float | None:
    whole = math.fsum(weight for _, weight in cells)
    return math.fsum(value * weight for value, weight in cells) / whole if whole > 0 else None


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _added(lists: Sequence[Sequence[int] | None]) -> list[int]:
    return [sum(counts) for counts in zip(*(one for one in lists if one), strict=True)]


def _square_sum(values: Sequence[float | None]) -> float:
    return math.fsum(value**2 for value in values if value is not None)


def _at(value: Any, *path: str | int) -> Any:
    """What lies at a path of a record, None where it ends before."""
    for key in path:
        if isinstance(key, str):
            value = value.get(key) if isinstance(value, Mapping) else None
        else:
            value = value[key] if isinstance(value, list) and key < len(value) else None
    return value


def compared_pairs(settings: Mapping[str, Any], tasks: int) -> list[tuple[int, int]]:
    """The ordered pairs (anchor, task) that a run compares, from its settings; those with its anchor first."""
    anchor = run_anchor(settings)
    numbers = range(1, tasks + 1)
    pairs = [(anchor, task) for task in numbers if task != anchor]
    if settings.get("pairs") == "all":
        pairs += [(one, two) for one in numbers for two in numbers if one not in (two, anchor)]
    return pairs


def run_anchor(settings: Mapping[str, Any]) -> int:
    """Number from 1 of the fine-tune that plays task 1."""
    anchor = settings.get("anchor")
    return anchor if type(anchor) is int and anchor > 0 else 1
