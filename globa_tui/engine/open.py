"""The engine that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Protocol, TypeVar

import torch

from globa_tui.engine.devices import resolve_devices
from globa_tui.engine.local import LocalEngine
from globa_tui.engine.memory import Memory
from globa_tui.engine.pipeline import Pipeline
from globa_tui.engine.work import Batch, Sized, Work
from globa_tui.jobs.settings import EngineChoice, SettingsError

Result = TypeVar("Result", bound=Sized)


class Engine(Protocol):
    """Carries out work on tasks; a context manager while it does so."""

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Devices of this machine that it computes on."""
        ...

    @property
    def device(self) -> str:
        """The kind of device that results come from: cpu or cuda."""
        ...

    @property
    def slots(self) -> int:
        """How many tasks it computes at a time."""
        ...

    def most(self, together: int) -> int:
        """How many small tasks to take together where a caller on this machine would take so many."""
        ...

    def run(
        self,
        work: Work[Result],
        batches: Iterable[Batch],
        memory: Memory,
        starting: Callable[[Batch], None] = lambda batch: None,
        *,
        shares: bool = False,
    ) -> Pipeline[Result]:
        """The pipeline that carries out `work` on every task, to be entered and iterated over.

        Parameters
        ----------
        work
            What is done; pickled where it goes elsewhere.
        batches
            Tasks in order; see `globa_tui.engine.work.batches`.
        memory
            Bounds what is held on this machine.
        starting
            Called before each batch, in another thread than the caller's; it may wait, and raise to end all.
        shares
            Whether tasks gain nothing from several threads each, so that a processor may compute several at a time.
        """
        ...


def open_engine(
    choice: EngineChoice, device: str, warn: Callable[[str], None] = lambda text: None
) -> AbstractContextManager[Engine]:
    """The engine of a choice, to be entered.

    Raises
    ------
    SettingsError
        The machine has no such device, or Ray is not installed.
    """
    if choice.name == "ray":
        if find_spec("ray") is None:
            msg = "--engine is 'ray', which is not installed; pip install 'globa-tui[ray]'"
            raise SettingsError(msg)
        from globa_tui.engine.on_ray import RayEngine

        return RayEngine(choice, device, warn)
    return LocalEngine(resolve_devices(device), choice.threads, warn)
