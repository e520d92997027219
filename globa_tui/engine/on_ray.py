"""Computing on a Ray cluster: every batch is a Ray task, and the process that calls is the only one that writes.

Ray schedules, finds a place with the resources that a task needs, and runs a task again whose process or machine was
lost. Here, one thread for each task in flight hands it over and waits for its result, so that a job looks the same
from both engines.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from globa_tui.diagnostics import ProgramError
from globa_tui.engine.devices import resolve_devices
from globa_tui.engine.memory import Memory
from globa_tui.engine.pipeline import Pipeline
from globa_tui.engine.ray_task import Shared, compute_batch
from globa_tui.engine.work import Batch, Sized, Work
from globa_tui.jobs.settings import EngineChoice
from globa_tui.jobs.sources import versions

Result = TypeVar("Result", bound=Sized)

Outcomes = ray.ObjectRef[tuple[list[Any], list[str]]]

TOGETHER = 64
"""Small tasks that go to a worker together: handing one over costs milliseconds."""
RETRIES = 3
"""How often a task is run again whose worker was lost."""
MOST_IN_FLIGHT = 256


class ClusterError(ProgramError):
    """The cluster cannot be reached, or lost a task too often."""


class RayEngine:
    """Runs work on a cluster.

    Parameters
    ----------
    choice
        Threads of each task, which it is given as many processors for, and the address of the cluster.
    device
        `cpu`; `cuda`, for one GPU to each task; or `auto`, for a GPU where the cluster has any.
    warn
        Told of what moves to the processor because a GPU's memory did not suffice.
    """

    devices: tuple[torch.device, ...] = ()

    def __init__(self, choice: EngineChoice, device: str, warn: Callable[[str], None] = lambda text: None) -> None:
        if device not in ("auto", "cpu", "cuda"):
            resolve_devices("cpu" if device.startswith("cuda:") else device)
            msg = f"--device is {device!r}: on a cluster Ray chooses which; say auto, cpu or cuda"
            raise ClusterError(msg)
        self._choice, self._asked, self._warn = choice, device, warn
        self._threads = choice.threads or 1
        self._ours = False
        self.device = "cpu"

    def __enter__(self) -> RayEngine:
        if not ray.is_initialized():
            address = self._choice.ray_address or None
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                msg = f"no Ray cluster at {address or 'RAY_ADDRESS'}: {error}; start one with `ray start --head`"
                raise ClusterError(msg) from error
            self._ours = True
        gpus = _resources().get("GPU", 0)
        self.device = "cuda" if self._asked == "cuda" or (self._asked == "auto" and gpus >= 1) else "cpu"
        if self.device == "cuda" and gpus < 1:
            self.__exit__(None, None, None)
            msg = "--device is 'cuda', but the Ray cluster has no GPU; start its nodes with --num-gpus, or use cpu"
            raise ClusterError(msg)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours:
            self._ours = False
            ray.shutdown()

    @property
    def slots(self) -> int:
        """How many tasks it computes at a time: one on each GPU, or on so many processors as a task has threads."""
        found = _resources()
        return max(1, int(found.get("GPU", 0) if self.device == "cuda" else found.get("CPU", 1) // self._threads))

    def most(self, together: int) -> int:
        """How many small tasks to take together; more than on one machine."""
        return max(together, TOGETHER)

    def run(
        self,
        work: Work[Result],
        batches: Iterable[Batch],
        memory: Memory,
        starting: Callable[[Batch], None] = lambda batch: None,
        *,
        shares: bool = False,
    ) -> Pipeline[Result]:
        """The pipeline that carries out `work` on every task, to be entered and iterated over."""
        del shares
        # Ray is given twice as many tasks as can run, so that no worker waits for the next.
        in_flight = min(MOST_IN_FLIGHT, 2 * self.slots)
        shared = Shared(uuid.uuid4().hex, [ray.put(pickle.dumps(work))])
        workers = [_Place[Result](self, shared) for _ in range(in_flight)]
        # What tasks read and work in is memory of their nodes; here only results wait.
        there = (tuple(dataclasses.replace(task, read=0, working=0) for task in batch) for batch in batches)
        return Pipeline(workers, there, memory, starting)

    def submit(self, shared: Shared, batch: Batch) -> Outcomes:
        """Hand a batch to the cluster."""
        resources = {"num_cpus": self._threads, "num_gpus": int(self.device == "cuda"), "max_retries": RETRIES}
        items = [(task.item, task.name) for task in batch]
        return compute_batch.options(**resources).remote(shared, items, self.device, self._threads, versions())

    def warn(self, texts: list[str]) -> None:
        """Pass on what a worker said."""
        for text in texts:
            self._warn(text)


def _checked(batch: Batch, answer: Any) -> tuple[list[Any], list[str]]:
    """What a worker answered: a result for each task, and what it has to say."""
    try:
        results, said = answer
        results, said = list(results), list(said)
    except (TypeError, ValueError):
        results, said = [], []
    if len(results) != len(batch) or not all(hasattr(result, "nbytes") for result in results):
        msg = f"{batch[0].name}: the cluster answered something else than results; install the same on every node"
        raise ClusterError(msg)
    return results, [str(text) for text in said]


def _resources() -> dict[str, float]:
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


class _Place(Generic[Result]):
    """One task in flight."""

    reads_ahead = False

    def __init__(self, engine: RayEngine, shared: Shared) -> None:
        self._engine, self._shared = engine, shared
        self._flying: Outcomes | None = None

    def start(self) -> None:
        """Nothing: this thread only waits."""

    def read(self, batch: Batch) -> list[Any]:
        """Nothing: who computes reads."""
        return [None] * len(batch)

    def compute(self, batch: Batch, inputs: list[Any]) -> list[Result]:
        del inputs
        self._flying = self._engine.submit(self._shared, batch)
        try:
            results, said = _checked(batch, ray.get(self._flying))
        except RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except RayError as error:
            what = " ".join(str(error).split())[:300]
            msg = f"{batch[0].name}: lost on the cluster ({what}); what was finished is kept, run the same again"
            raise ClusterError(msg) from error
        finally:
            self._flying = None
        self._engine.warn(said)
        return results

    def interrupt(self) -> bool:
        flying = self._flying
        if flying is not None:
            ray.cancel(flying, force=True)
        return True

    def close(self) -> None:
        """Nothing is held here."""
