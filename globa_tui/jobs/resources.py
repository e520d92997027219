"""Memory and disk: what a layer can need, what there is, and what to say when it does not suffice."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from analysis.errors import AnalysisError, LinAlgError
from globa_tui.memory import available_memory
from globa_tui.values import about_size
from store.checkpoints import Layer

_WORKING_COPIES = 10
"""Peak of an analysis, in copies of the layer in the working precision (DESIGN.md, section 5)."""
_LEAST_COPIES = 3
"""Copies without which no analysis goes: a weight, its task vector, and one factor."""
_BESIDE = 600_000_000
"""Bytes of the program and its libraries."""


def layer_failure(error: BaseException) -> str | None:
    """Why one layer could not be analysed, when the job can go on with the next one; else None."""
    if isinstance(error, AnalysisError):
        return str(error)
    if isinstance(error, LinAlgError):
        return f"a decomposition did not converge ({' '.join(str(error).split())[:200]})"
    # Of torch's own errors, only those of the GPU have a class of their own.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "out of memory; free some, or use --device cpu or a machine with more, and run again"
    if "without overflow" in str(error):
        return "a coefficient or a weight is too large for the working precision; use a smaller one"
    return None


def layer_bytes(layer: Layer, precision: str, copies: int = _WORKING_COPIES) -> int:
    """Memory that analysing a layer can take, besides what the program needs anyway."""
    entries = 1
    for side in layer.shape:
        entries *= side
    return copies * entries * (8 if precision == "float64" else 4)


def memory_trouble(layers: Iterable[Layer], precision: str, device: torch.device) -> tuple[str, bool] | None:
    """Say when the largest layer may not fit into memory, and whether it cannot possibly.

    Returns
    -------
    tuple or None
        One line, and whether to refuse; None when all is well, or the machine does not tell.
    """
    found = available_memory()
    largest = max(layers, key=lambda layer: layer_bytes(layer, precision), default=None)
    if found is None or largest is None or device.type != "cpu":
        return None
    available, total = found
    most, least = (layer_bytes(largest, precision, copies) + _BESIDE for copies in (_WORKING_COPIES, _LEAST_COPIES))
    what = f"{largest.name} ({'x'.join(map(str, largest.shape))})"
    if least > total:
        needs = f"{what} needs at least {about_size(least)} of memory, there are {about_size(total)}"
        return f"{needs}; leave it out with --exclude, or use a larger machine", True
    if most > available:
        can = f"{what} can need {about_size(most)} of memory, {about_size(available)} are available"
        return f"{can}; if it fails, free some and resume", False
    return None
