"""Factors of a layer in the store: compact bases and sparse matrices, and back to a merged delta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from analysis.layer import LayerAnalysis
from analysis.merge.globa import merged_delta
from analysis.merge.patterns import Entries, PatternCores
from globa_tui.estimate import SIXTEEN_BITS
from store.run import Array

_PART = 1 << 20
"""Entries that are listed at a time."""


def factor_dtype(weights: str, precision: str) -> torch.dtype:
    """Type in which bases are kept, given the safetensors code of the weights.

    float16 for 16-bit weights: its 11 bits move a merged delta by about 3e-4 of its norm, below the rounding of the
    weights it is added to. Wider weights keep the working precision.
    """
    if precision == "float64":
        return torch.float64
    return torch.float16 if weights in SIXTEEN_BITS else torch.float32


def factor_arrays(result: LayerAnalysis, dtype: torch.dtype) -> dict[str, Array]:
    """Bases without the directions that no pruned matrix uses, and the pruned matrices as coordinate lists."""
    used = torch.stack([core != 0 for core in result.pruned]).any(dim=0)
    rows, cols = used.any(dim=1), used.any(dim=0)
    arrays = {}
    for side, basis, keep in (("left", result.left, rows), ("right", result.right, cols)):
        vectors = basis.vectors[:, keep].to(dtype)
        arrays[f"basis/{side}"] = Array(
            vectors.cpu().numpy(),
            "none",
            f"{side} global basis, orthonormal columns, only those in use",
            ("side", "rank"),
        )
    values_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    for number, core in enumerate(result.pruned, 1):
        arrays |= _sparse(f"core/{number}", core, rows, cols, values_dtype)
    return arrays


def _sparse(
    name: str, core: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor, dtype: torch.dtype
) -> dict[str, Array]:
    """Coordinate lists of the rows and columns in use, made in parts: at full rank int64 indices outweigh the layer."""
    narrow = np.uint16 if max(int(rows.sum()), int(cols.sum())) <= np.iinfo(np.uint16).max else np.uint32
    new_row, new_col = rows.cumsum(0) - 1, cols.cumsum(0) - 1
    found: list[tuple[np.ndarray[Any, Any], ...]] = []
    step = max(_PART // max(core.shape[1], 1), 1)
    for start in range(0, max(core.shape[0], 1), step):
        part = core[start : start + step].to(dtype)
        row, col = torch.nonzero(part, as_tuple=True)
        lists = new_row[row + start], new_col[col], part[row, col]
        kinds = narrow, narrow, None
        found.append(tuple(np.asarray(x.cpu().numpy(), dtype=kind) for x, kind in zip(lists, kinds, strict=True)))
    at_rows, at_cols, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    about = f"non-zero entries of the pruned interaction matrix {name.rsplit('/', 1)[-1]}, row-major"
    return {
        f"{name}/rows": Array(at_rows, "index", f"row of the {about}", ("entry",)),
        f"{name}/cols": Array(at_cols, "index", f"column of the {about}", ("entry",)),
        f"{name}/values": Array(values, "weight", f"value of the {about}", ("entry",)),
    }


def delta_from_factors(
    arrays: Mapping[str, np.ndarray[Any, Any]],
    tasks: int,
    anchor: int,
    coefficients: Mapping[str, float],
    device: torch.device,
) -> torch.Tensor:
    """The merged delta of one layer from its stored factors, in float32, or float64 where they are float64."""
    dtype = torch.float64 if arrays["basis/left"].dtype == np.float64 else torch.float32
    left = torch.from_numpy(arrays["basis/left"]).to(device, dtype)
    right = torch.from_numpy(arrays["basis/right"]).to(device, dtype)
    shape = left.shape[1], right.shape[1]
    entries = [core_entries(arrays, task, shape, dtype, device) for task in range(1, tasks + 1)]
    return merged_delta(left, PatternCores(entries, anchor, shape).weighted(coefficients), right)


def core_entries(
    arrays: Mapping[str, np.ndarray[Any, Any]],
    task: int,
    shape: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Entries:
    """The entries of the pruned matrix of a task, counted from 1, from its coordinate lists."""
    rows, cols, values = (arrays[f"core/{task}/{part}"] for part in ("rows", "cols", "values"))
    places = rows.astype(np.int64) * shape[1] + cols
    return Entries(torch.from_numpy(places).to(device), torch.from_numpy(values).to(device, dtype))
