"""Memory and disk: what a layer can need, what there is, and what to say when it does not suffice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch

from analysis.errors import AnalysisError, LinAlgError
from globa_tui.memory import available_memory
from globa_tui.values import about_size
from store.checkpoints import Layer
from store.checkpoints.dtypes import BITS

_WORKING_COPIES = 14
"""Peak of the analysis of two fine-tunes at full rank, in copies of the layer in the working precision."""
_BOUND_COPIES = 10
"""Copies of the largest layer that all layers in hand may take together, whatever one alone takes."""
_LEAST_COPIES = 3
"""Copies without which no analysis goes: a weight, its task vector, and one factor."""
_BESIDE = 600_000_000
"""Bytes of the program and its libraries."""


def read_bytes(layer: Layer) -> int:
    """Memory that the layer's tensors take as they are read: of the base and of every fine-tune that has it."""
    entries = 1
    for side in layer.shape:
        entries *= side
    ranks = layer.ranks or (None,) * len(layer.fine_tuned)
    changed = [rank for name, rank in zip(layer.fine_tuned, ranks, strict=True) if name is not None]
    whole = 1 + sum(rank is None for rank in changed)
    factors = sum(rank * sum(layer.shape) * 8 for rank in changed if rank is not None)
    return whole * entries * BITS[layer.dtype] // 8 + factors


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


def merge_limit(layers: Iterable[Layer]) -> int:
    """Bytes that the tensors of a merge may take together: four times the largest; one that takes more goes alone.

    So the next is read and the last one written beside it only where a decomposition leaves room for that.
    """
    return max((4 * math.prod(layer.shape) * BITS[layer.dtype] // 8 for layer in layers), default=0) + _BESIDE // 2


def analysis_limit(layers: Iterable[Layer], precision: str) -> int:
    """Bytes that the layers of an analysis may take together; one that takes more goes alone.

    So the next is read and the last one written beside it only where layers are not large: a layer of 4096² takes a
    minute, and reading and writing it a second.
    """
    return max((layer_bytes(layer, precision, _BOUND_COPIES) for layer in layers), default=0) + _BESIDE // 2


def memory_trouble(
    layers: Iterable[Layer], precision: str, devices: Iterable[torch.device]
) -> Iterator[tuple[str, bool]]:
    """Say of each device when the largest layer may not fit into its memory, and whether it cannot possibly.

    Yields
    ------
    tuple
        One line, and whether to refuse: not for a GPU, for what does not fit there is computed on the processor.
    """
    largest = max(layers, key=lambda layer: layer_bytes(layer, precision), default=None)
    for device in dict.fromkeys(devices) if largest is not None else ():
        assert largest is not None
        found = torch.cuda.mem_get_info(device) if device.type == "cuda" else available_memory()
        if found is not None:
            yield from _trouble(largest, precision, device, *found)


def _trouble(
    layer: Layer, precision: str, device: torch.device, available: int, total: int
) -> Iterator[tuple[str, bool]]:
    beside = _BESIDE if device.type == "cpu" else 0
    most, least = (layer_bytes(layer, precision, copies) + beside for copies in (_WORKING_COPIES, _LEAST_COPIES))
    what = f"{layer.name} ({'x'.join(map(str, layer.shape))})"
    if device.type != "cpu":
        if most > available:
            can = f"{what} can need {about_size(most)} of {device}, which has {about_size(available)} free"
            yield f"{can}; what does not fit is computed on the CPU", False
    elif least > total:
        needs = f"{what} needs at least {about_size(least)} of memory, there are {about_size(total)}"
        yield f"{needs}; leave it out with --exclude, or use a larger machine", True
    elif most > available:
        can = f"{what} can need {about_size(most)} of memory, {about_size(available)} are available"
        yield f"{can}; if it fails, free some and resume", False
