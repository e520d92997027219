"""The claims that need no data: equation 23, and whether the procedure is deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from analysis.layer import BasisKind, LayerAnalysis, LayerOptions, analyse_layer
from analysis.merge.globa import PATTERNS, merged_delta, weighted_core
from benchmarks.authors import analyse as published
from demo.study.bed import SETTINGS, Bed

NOISE = 1e-7
"""Relative change of the weights: the rounding of float32."""


def measure_numerics(bed: Bed) -> dict[str, Any]:
    """Of every analysed matrix of a pair: how exact equation 23 is, and how far noise moves the parts."""
    layers = [(start, deltas) for start, deltas, _ in bed.matrices()]
    moved = [_movement(*layer) for layer in layers]
    return {
        "matrices": len(layers),
        "equation 23": {
            f"basis energy {energy:g}, η {eta:g}": _of([_equation_23(*layer, energy, eta) for layer in layers])
            for energy, eta in ((1.0, 1.0), (0.999, 1.0), (0.999, SETTINGS.eta[1]))
        },
        "moved": {name: _of([found[name] for found in moved]) for name in moved[0]},
    }


def _equation_23(base: Tensor, deltas: Sequence[Tensor], basis_energy: float, eta: float) -> float:
    """``‖U(Ĉ_1+Ĉ_2)Vᵀ − (τ_1+τ_2)‖ / ‖τ_1+τ_2‖``, with the truncated task vectors, in float64."""
    found = _analysed(base, deltas, "canonical", torch.float64, basis_energy, (eta, eta))
    whole = sum((svd.left * svd.singular_values) @ svd.right.mT for svd in found.svds)
    assert isinstance(whole, Tensor)
    return float(torch.linalg.norm(_merge(found, PATTERNS) - whole) / torch.linalg.norm(whole))


def _movement(base: Tensor, deltas: Sequence[Tensor]) -> dict[str, float]:
    """How far noise moves the Type-A part and the merge of all types, relative to their norms."""
    draws = torch.Generator().manual_seed(0)
    noisy = [one * (1 + NOISE * torch.randn(one.shape, generator=draws)) for one in deltas]
    ways: dict[str, Any] = {
        "published procedure": _published,
        "ours, canonical basis": lambda given: _parts(_analysed(base, given, "canonical", torch.float32)),
        "ours, anchored basis": lambda given: _parts(_analysed(base, given, "anchored", torch.float32)),
    }
    found = {}
    for name, way in ways.items():
        for part, before, after in zip(("type A", "C̃_1 and D−"), way(deltas), way(noisy), strict=True):
            size = float(torch.linalg.norm(before))
            found[f"{name}: {part}"] = float(torch.linalg.norm(after - before)) / size if size else 0.0
    return found


def _published(deltas: Sequence[Tensor]) -> list[Tensor]:
    """Type A, and C̃_1 with D−, as deltas of the weights, by the authors' procedure."""
    found = published((deltas[0], deltas[1]))
    return [found.left @ core @ found.right.mT for core in (found.parts["A"], found.parts["C1"] + found.parts["D-"])]


def _parts(found: LayerAnalysis) -> list[Tensor]:
    return [_merge(found, ("A",)), _merge(found, ("C1", "D-"))]


def _merge(found: LayerAnalysis, patterns: Sequence[str]) -> Tensor:
    chosen = {name: float(name in patterns) for name in PATTERNS}
    return merged_delta(found.left.vectors, weighted_core(found.pruned, 0, chosen), found.right.vectors)


def _analysed(
    base: Tensor,
    deltas: Sequence[Tensor],
    basis: BasisKind,
    dtype: torch.dtype,
    basis_energy: float = 0.999,
    eta: tuple[float, ...] = SETTINGS.eta,
) -> LayerAnalysis:
    options = LayerOptions(SETTINGS.svd_energy, eta, basis_energy, basis, dtype=dtype)
    # The base is left out: adding it would round the noise away.
    return analyse_layer(torch.zeros_like(base, dtype=dtype), [one.to(dtype) for one in deltas], options)


def _of(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "worst": max(values)}
