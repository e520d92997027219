"""From a layer's analysis to what the store keeps: one record of scalars and named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from analysis.components import type_picture
from analysis.conflict import ConflictSums
from analysis.decompose import TruncatedSVD
from analysis.layer import LayerAnalysis
from analysis.merge.globa import PATTERNS
from analysis.spectrum import effective_rank, knee, rank_reaching, stable_rank
from analysis.subspaces import SubspaceOverlap
from globa_tui.jobs.factors import factor_arrays
from store.checkpoints import Layer
from store.run import Array

RANK_ENERGIES = (0.8, 0.9, 0.95, 0.99)
ANGLE_BINS = 9


def layer_record(layer: Layer, result: LayerAnalysis, anchor: int, seconds: float) -> dict[str, Any]:
    """The scalars of a finished layer; `anchor` counts from 0. docs/store.md and `show --json` name them."""
    return {
        **record_head(layer, "done"),
        "seconds": round(seconds, 4),
        "norm": {"base": result.base_norm, "task_vectors": list(result.task_norms)},
        "relative_size": [norm / result.base_norm if result.base_norm else None for norm in result.task_norms],
        "rank": [svd.rank for svd in result.svds],
        "basis_rank": [result.left.rank, result.right.rank],
        "decomposition": [svd.method for svd in result.svds],
        **_spectrum_scalars(result),
        "clusters": _clusters(result),
        **_patterns(result, anchor),
        **_overlaps(result),
        "retained": [_ratio(float(core.square().sum()), whole) for core, whole in _energies(result)],
        "frozen": [norm == 0.0 for norm in result.task_norms],
        "effect": {
            "labels": [_label(part.pattern, part.task, len(result.svds)) for part in result.parts.components],
            "gram": result.parts.gram.tolist(),
            "cross": result.parts.cross.tolist(),
            "task_energy": list(result.parts.task_energy),
        },
        "alignment": _alignment(result),
        "conflict": _conflict(result),
    }


def record_head(layer: Layer, status: str, error: str | None = None) -> dict[str, Any]:
    """The part that every record has, whatever became of the layer."""
    return {
        "index": layer.index,
        "name": layer.name,
        "shape": list(layer.shape),
        "kind": layer.kind,
        "block": layer.block,
        "role": layer.role,
        "status": status,
        "error": error,
    }


def layer_arrays(result: LayerAnalysis, anchor: int, factor_dtype: torch.dtype | None) -> dict[str, Array]:
    """The arrays of a finished layer: spectra, angles, the type map, and the factors unless `factor_dtype` is None."""
    arrays: dict[str, Array] = {}
    for number, svd in enumerate(result.svds, 1):
        arrays[f"spectrum/{number}"] = Array(numpy(svd.spectrum), "weight", _about_spectrum(number, svd), ("value",))
    for task, overlap in enumerate(result.overlaps):
        if overlap is not None:
            arrays |= _overlap_arrays(result, task, overlap, anchor)
    if factor_dtype is not None:
        arrays |= factor_arrays(result, factor_dtype)
    return arrays


def _about_spectrum(number: int, svd: TruncatedSVD) -> str:
    which = "singular values" if svd.spectrum_complete else "leading singular values"
    return f"{which} of task vector {number}, before truncation"


def numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """A tensor as a NumPy array in memory of its own."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def _overlap_arrays(result: LayerAnalysis, task: int, overlap: SubspaceOverlap, anchor: int) -> dict[str, Array]:
    """Arrays of the pair (anchor, task); with more than two tasks the names carry the task's number."""
    suffix = "" if len(result.svds) == 2 else f"/{task + 1}"
    sides = (("left", overlap.left_angles), ("right", overlap.right_angles))
    arrays = {
        f"principal_angles/{side}{suffix}": Array(
            numpy(angles), "radian", f"principal angles between the {side} spaces, ascending", ("pair",)
        )
        for side, angles in sides
    }
    alignment = result.alignments[task]
    if alignment is not None:
        for side, values in (("left", alignment.left), ("right", alignment.right)):
            about = f"|cosine| of the r-th {side} singular vectors of the two tasks"
            arrays[f"alignment/{side}{suffix}"] = Array(numpy(values), "none", about, ("rank",))
        arrays[f"alignment/similarity{suffix}"] = Array(
            numpy(alignment.similarity),
            "none",
            "(u_a·u_b)² + (v_a·v_b)² of triplet a of the anchor and b of the other task, 0 to 2",
            ("rank", "rank"),
        )
    picture = type_picture(result.pruned[anchor], result.pruned[task])
    arrays[f"type_map{suffix}"] = Array(
        numpy(picture),
        "code",
        "strongest overlap type per tile: 0 none, 1 A, 2 B, 3 C, 4 D+, 5 D-, 6 E, 7 only C1",
        ("left", "right"),
    )
    return arrays


def _spectrum_scalars(result: LayerAnalysis) -> dict[str, Any]:
    """What the spectra say; None where it takes values that were not computed."""
    svds = result.svds
    knees = [knee(svd.spectrum, svd.known_total, min(result.shape)) for svd in svds]
    return {
        "spectrum_complete": [svd.spectrum_complete for svd in svds],
        "accuracy": {
            "residual": [svd.accuracy.residual for svd in svds],
            "orthogonality": [svd.accuracy.orthogonality for svd in svds],
        },
        "stable_rank": [stable_rank(svd.spectrum, svd.known_total) for svd in svds],
        "effective_rank": [effective_rank(svd.spectrum) if svd.spectrum_complete else None for svd in svds],
        "rank_at": {f"{e:g}": [rank_reaching(svd.spectrum, e, svd.known_total) for svd in svds] for e in RANK_ENERGIES},
        "knee": [dict(zip(("rank", "energy"), found or (None, None), strict=True)) for found in knees],
    }


def _clusters(result: LayerAnalysis) -> dict[str, Any]:
    values = [svd.singular_values for svd in result.svds]
    sides = {"left": result.left, "right": result.right}
    return {
        name: {"directions": int(side.clustered.sum()), "energy": side.cluster_energy(values)}
        for name, side in sides.items()
    }


def _patterns(result: LayerAnalysis, anchor: int) -> dict[str, Any]:
    """Counts and energies per pattern, summed over the tasks beside the anchor, and each of them under `pairs`."""
    table = result.parts
    tasks = [task for task in range(len(result.svds)) if task != anchor]
    pairs: list[dict[str, Any]] = []
    for task in tasks:
        mine = [(row, part) for row, part in enumerate(table.components) if part.task in (anchor, task)]
        pairs.append(
            {
                "task": task + 1,
                "patterns": {part.pattern: {"count": part.count, "energy": part.energy} for _, part in mine},
                "inner": {
                    f"C1.{part.pattern}": float(table.gram[0, row])
                    for row, part in mine
                    if part.pattern in ("D+", "D-")
                },
            }
        )
    total: dict[str, Any] = {"C1": pairs[0]["patterns"]["C1"]}
    for pattern in PATTERNS[1:]:
        cells = [pair["patterns"][pattern] for pair in pairs]
        total[pattern] = {key: sum(cell[key] for cell in cells) for key in ("count", "energy")}
    inner = {key: sum(pair["inner"][key] for pair in pairs) for key in ("C1.D+", "C1.D-")}
    return {"patterns": total, "inner": inner, **({"pairs": pairs} if len(pairs) > 1 else {})}


def _overlaps(result: LayerAnalysis) -> dict[str, Any]:
    """Orthogonality, the four blocks and the angle histograms: the mean over the pairs with the anchor."""
    overlaps = [overlap for overlap in result.overlaps if overlap is not None]

    def mean(field: str) -> float:
        return sum(float(getattr(overlap, field)) for overlap in overlaps) / len(overlaps)

    return {
        "orthogonality": {"left": mean("left"), "right": mean("right")},
        "blocks": {
            "both": mean("both_shared"),
            "left": mean("output_shared"),
            "right": mean("input_shared"),
            "none": mean("none_shared"),
        },
        "angles": {
            "left": _histogram([overlap.left_angles for overlap in overlaps]),
            "right": _histogram([overlap.right_angles for overlap in overlaps]),
        },
    }


def _alignment(result: LayerAnalysis) -> dict[str, Any]:
    """Alignment of the first triplets and the mean over the leading ones, the mean over the pairs with the anchor."""
    found = [alignment for alignment in result.alignments if alignment is not None and len(alignment.left)]
    if not found:
        return {}
    sides = {"left": [a.left for a in found], "right": [a.right for a in found]}
    return {
        name: {side: sum(float(pick(values)) for values in vectors) / len(found) for side, vectors in sides.items()}
        for name, pick in (("first", lambda values: values[0]), ("mean", torch.mean))
    }


def _conflict(result: LayerAnalysis) -> dict[str, Any]:
    """Conflict metrics over all pairs with the anchor together; empty where entries are never formed."""
    found = [sums for sums in result.conflicts if sums is not None]
    if not found:
        return {}
    total = sum(found, ConflictSums())
    return {
        "magnitude_change": total.magnitude_change_ratio,
        "sign_change": total.sign_change_ratio,
        "conflicting_magnitude_change": total.conflicting_magnitude_change_ratio,
        "cosine": total.cosine,
        "zeros": [zeros / total.entries if total.entries else None for zeros in total.zeros],
    }


def _histogram(angles: list[torch.Tensor]) -> list[int]:
    """Count of principal angles per ten degrees."""
    degrees = torch.rad2deg(torch.cat(angles)).cpu()
    return [int(count) for count in torch.histc(degrees, bins=ANGLE_BINS, min=0.0, max=90.0)]


def _energies(result: LayerAnalysis) -> list[tuple[torch.Tensor, float]]:
    return [(core, svd.energy) for core, svd in zip(result.pruned, result.svds, strict=True)]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _label(pattern: str, task: int, tasks: int) -> str:
    """Name of a part; with more than two tasks the parts of the others carry the task's number."""
    return pattern if tasks == 2 or pattern == "C1" else f"{pattern}@{task + 1}"


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record without NaN or infinity, which JSON does not have: None takes their place."""
    return {key: _finite(value) for key, value in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return plain(value)
    return [_finite(item) for item in value] if isinstance(value, list) else value
