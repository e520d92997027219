"""From a layer's analysis to what the store keeps: one record of scalars and named arrays."""

from __future__ import annotations

from typing import Any

import torch

from analysis.decompose import TruncatedSVD
from analysis.layer import LayerAnalysis
from analysis.spectrum import effective_rank, knee, rank_reaching, stable_rank
from globa_tui.jobs.factors import factor_arrays
from globa_tui.jobs.pair_records import merged_arrays, merged_scalars, numpy, pair_arrays, pair_scalars
from store.checkpoints import Layer
from store.run import Array

RANK_ENERGIES = (0.8, 0.9, 0.95, 0.99)


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
        **pair_scalars(result, anchor),
        "retained": [_ratio(float(core.flatten() @ core.flatten()), whole) for core, whole in _energies(result)],
        "frozen": [norm == 0.0 for norm in result.task_norms],
        "effect": {
            "labels": [_label(part.pattern, part.task, len(result.svds)) for part in result.parts.components],
            "gram": result.parts.gram.tolist(),
            "cross": result.parts.cross.tolist(),
            "task_energy": list(result.parts.task_energy),
        },
        "sum": merged_scalars(result.merged),
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
    for pair in result.pairs:
        arrays |= pair_arrays(result, pair, anchor)
    arrays |= merged_arrays(result)
    if factor_dtype is not None:
        arrays |= factor_arrays(result, factor_dtype)
    return arrays


def _about_spectrum(number: int, svd: TruncatedSVD) -> str:
    which = "singular values" if svd.spectrum_complete else "leading singular values"
    return f"{which} of task vector {number}, before truncation"


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
    sides = {"left": result.left, "right": result.right}
    return {
        name: {"directions": int(side.clustered.sum()), "energy": energy}
        for (name, side), energy in zip(sides.items(), result.cluster_energy, strict=True)
    }


def _energies(result: LayerAnalysis) -> list[tuple[torch.Tensor, float]]:
    return [(core, svd.energy) for core, svd in zip(result.pruned, result.svds, strict=True)]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _label(pattern: str, task: int, tasks: int) -> str:
    """Name of a part; with more than two tasks the parts of the others carry the task's number."""
    return pattern if tasks == 2 or pattern == "C1" else f"{pattern}@{task + 1}"
