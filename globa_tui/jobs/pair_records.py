"""What the store keeps of task vectors compared two by two: scalars for the record, arrays for the layer file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from analysis.components import type_picture
from analysis.conflict import ConflictSums
from analysis.layer import LayerAnalysis
from analysis.merged_alignment import MergedAlignment
from analysis.pair import PairAnalysis
from analysis.what_if import PATTERNS
from store.run import Array

ANGLE_BINS = 9
WINDOW = 8
"""Ranks in one window of the alignment."""

Record = dict[str, Any]


def numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """A tensor as a NumPy array in memory of its own."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def pair_scalars(result: LayerAnalysis, anchor: int) -> Record:
    """The pairs with the anchor together at the top level; where there are more than one, each under `pairs`."""
    each = [_pair(pair) for pair in result.pairs]
    mine = [(pair, record) for pair, record in zip(result.pairs, each, strict=True) if pair.anchor == anchor]
    top = [record for _, record in mine]
    patterns: Record = {"C1": top[0]["patterns"]["C1"]}
    for name in PATTERNS[1:]:
        cells = [record["patterns"][name] for record in top]
        patterns[name] = {key: sum(cell[key] for cell in cells) for key in ("count", "energy")}
    found: Record = {
        "patterns": patterns,
        "inner": {key: sum(record["inner"][key] for record in top) for key in ("C1.D+", "C1.D-")},
        "orthogonality": _mean([record["orthogonality"] for record in top]),
        "blocks": _mean([record["blocks"] for record in top]),
        "angles": {side: _added([record["angles"][side] for record in top]) for side in ("left", "right")},
        "alignment": _alignment([pair for pair, _ in mine]),
        "conflict": conflict_scalars(sum((pair.conflict for pair, _ in mine), ConflictSums())),
        "what_if": {"eta": [list(grid) for grid in result.grids]},
    }
    if len(each) > 1:
        found["pairs"] = each
    if result.unions:
        found["union"] = [{"task": task, "patterns": _cells(union)} for task, union in enumerate(result.unions, 1)]
    return found


def _pair(pair: PairAnalysis) -> Record:
    overlap = pair.overlap
    return {
        "anchor": pair.anchor + 1,
        "task": pair.task + 1,
        "patterns": _cells(pair.patterns),
        "inner": dict(pair.inner),
        "orthogonality": {"left": overlap.left, "right": overlap.right},
        "blocks": {
            "both": overlap.both_shared,
            "left": overlap.output_shared,
            "right": overlap.input_shared,
            "none": overlap.none_shared,
        },
        "angles": {"left": _histogram(overlap.left_angles), "right": _histogram(overlap.right_angles)},
        "alignment": _alignment([pair]),
        "conflict": conflict_scalars(pair.conflict),
    }


def _cells(patterns: Any) -> Record:
    return {name: {"count": count, "energy": energy} for name, (count, energy) in patterns.items()}


def conflict_scalars(sums: ConflictSums) -> Record:
    """The four metrics and what they are made of: `sums` of several layers add up to those of a model."""
    if sums == ConflictSums():
        return {}
    return {
        "magnitude_change": sums.magnitude_change_ratio,
        "sign_change": sums.sign_change_ratio,
        "conflicting_magnitude_change": sums.conflicting_magnitude_change_ratio,
        "cosine": sums.cosine,
        "zeros": [zeros / sums.entries if sums.entries else None for zeros in sums.zeros],
        "sums": {
            "entries": sums.entries,
            "difference": sums.difference,
            "magnitudes": sums.magnitudes,
            "sign_changes": sums.sign_changes,
            "conflicting_difference": sums.conflicting_difference,
            "product": sums.product,
            "squares": list(sums.squares),
            "zeros": list(sums.zeros),
        },
    }


def _alignment(pairs: Sequence[PairAnalysis]) -> Record:
    """Alignment of the first triplets, the mean by rank, and S per window of ranks: the mean over the pairs."""
    found = [pair.alignment for pair in pairs if len(pair.alignment.left)]
    if not found:
        return {}
    first = [{"left": float(a.left[0]), "right": float(a.right[0])} for a in found]
    mean = [{"left": float(a.left.mean()), "right": float(a.right.mean())} for a in found]
    size = min(min(a.similarity.shape) for a in found)
    windows = [
        sum(float(a.similarity[start : start + WINDOW, start : start + WINDOW].sum()) for a in found) / len(found)
        for start in range(0, size, WINDOW)
    ]
    return {"first": _mean(first), "mean": _mean(mean), "windows": windows}


def _mean(records: Sequence[Record]) -> Record:
    return {key: sum(record[key] for record in records) / len(records) for key in records[0]}


def _added(lists: Sequence[list[int]]) -> list[int]:
    return [sum(counts) for counts in zip(*lists, strict=True)]


def _histogram(angles: torch.Tensor) -> list[int]:
    """Count of principal angles per ten degrees."""
    degrees = torch.rad2deg(angles).cpu()
    return [int(count) for count in torch.histc(degrees, bins=ANGLE_BINS, min=0.0, max=90.0)]


def pair_name(name: str, pair: tuple[int, int], tasks: int, anchor: int) -> str:
    """Name of an array of the pair (anchor, task), from 0; only those with the run's own anchor have the short ones."""
    one, two = pair
    if one != anchor:
        return f"against/{one + 1}/{name}/{two + 1}"
    return name if tasks == 2 else f"{name}/{two + 1}"


def pair_arrays(result: LayerAnalysis, pair: PairAnalysis, anchor: int) -> dict[str, Array]:
    """Arrays of one pair, under the names of docs/store.md."""
    arrays = {
        f"principal_angles/{side}": Array(
            numpy(angles), "radian", f"principal angles between the {side} spaces, ascending", ("pair",)
        )
        for side, angles in (("left", pair.overlap.left_angles), ("right", pair.overlap.right_angles))
    }
    for side, values in (("left", pair.alignment.left), ("right", pair.alignment.right)):
        about = f"|cosine| of the r-th {side} singular vectors of the two tasks"
        arrays[f"alignment/{side}"] = Array(numpy(values), "none", about, ("rank",))
    arrays["alignment/similarity"] = Array(
        numpy(pair.alignment.similarity),
        "none",
        "(u_a·u_b)² + (v_a·v_b)² of triplet a of the anchor and b of the other task, 0 to 2",
        ("rank", "rank"),
    )
    arrays["type_map"] = Array(
        numpy(type_picture(result.pruned[pair.anchor], result.pruned[pair.task])),
        "code",
        "strongest overlap type per tile: 0 none, 1 A, 2 B, 3 C, 4 D+, 5 D-, 6 E, 7 only C1",
        ("left", "right"),
    )
    arrays["what_if"] = _what_if_array(pair)
    tasks = len(result.svds)
    return {pair_name(name, (pair.anchor, pair.task), tasks, anchor): array for name, array in arrays.items()}


def _what_if_array(pair: PairAnalysis) -> Array:
    found = pair.what_if
    about = f"number of entries, then energy in units of weight², of {', '.join(PATTERNS)} at each pair of thresholds"
    both = torch.stack([found.counts.double(), found.energies])
    return Array(numpy(both), "none", about, ("count or energy", "anchor_eta", "eta", "pattern"))


def merged_scalars(found: MergedAlignment) -> Record:
    """What a merge, here the sum, does to each task vector in its leading directions; see docs/store.md."""
    if not len(found.values):
        return {"directions": 0, "share": found.share, "energy": 0.0}
    index = found.signed_index
    return {
        "directions": len(found.values),
        "share": found.share,
        "energy": float(found.values.square().sum()),
        "sai": found.mean(index).tolist(),
        "sai_first": index[:, 0].tolist(),
        "sai_absolute": found.mean(index.abs()).tolist(),
        "influence": found.mean(found.damped).tolist(),
    }


def merged_arrays(result: LayerAnalysis) -> dict[str, Array]:
    """Cross-influences in the leading directions of the sum of the task vectors, which the coefficients follow from."""
    found = result.merged
    about = "cross-influence of task j on task i in direction r of the summed task vectors: damped, then exact reading"
    values = Array(numpy(found.values), "weight", "leading singular values of the summed task vectors", ("rank",))
    return {
        "sum/values": values,
        "sum/influence": Array(
            numpy(torch.stack([found.damped, found.exact])), "none", about, ("reading", "i", "j", "rank")
        ),
    }
