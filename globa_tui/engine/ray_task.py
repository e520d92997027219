"""What runs in the processes of a Ray cluster."""

from __future__ import annotations

from globa_tui._claim import claim

claim()

import pickle
from dataclasses import dataclass
from typing import Any

import ray
import torch

from globa_tui.engine.allocator import return_large_blocks
from globa_tui.engine.local import LocalWorker
from globa_tui.engine.work import Batch, Task
from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sources import versions


@dataclass(frozen=True)
class Shared:
    """The work of all tasks of a job, pickled once; in a list, so that Ray fetches it only where it is asked for."""

    key: str
    pickled: list[ray.ObjectRef[bytes]]


_open: dict[str, LocalWorker[Any]] = {}
"""The work that this process has opened last: headers are read once for all its tasks."""
_said: list[str] = []


@ray.remote
def compute_batch(
    shared: Shared, items: list[tuple[Any, str]], device: str, threads: int, wanted: dict[str, str]
) -> tuple[list[Any], list[str]]:
    """Carry out tasks of pickled work; their results, and what there is to say."""
    if versions() != wanted:
        msg = f"this Ray node has {versions()}, the job was started with {wanted}; install the same on every node"
        raise SettingsError(msg)
    torch.set_float32_matmul_precision("highest")
    return_large_blocks()
    batch: Batch = tuple(Task(item, name) for item, name in items)
    worker = _worker(shared, device, threads)
    worker.start()
    results = worker.compute(batch, worker.read(batch))
    said = _said.copy()
    _said.clear()
    return results, said


def _worker(shared: Shared, device: str, threads: int) -> LocalWorker[Any]:
    if shared.key not in _open:
        for old in _open.values():
            old.close()
        _open.clear()
        place = torch.device(device if device == "cpu" else "cuda:0")
        work = pickle.loads(ray.get(shared.pickled[0]))
        _open[shared.key] = LocalWorker(work, place, threads, _said.append)
    return _open[shared.key]
