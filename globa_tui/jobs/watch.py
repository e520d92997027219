"""Looking at disk and memory while a job runs, which pauses rather than fail when others take what it needs next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from globa_tui.engine.work import Batch
from globa_tui.jobs.reporter import Reporter
from globa_tui.memory import available_memory, own_memory
from globa_tui.values import about_size
from store.errors import DiskFullError
from store.files import free_bytes

_RESERVE = 1 << 25
"""Bytes that stay free on the disk: for spectra, the summary, the status, and others' logs."""
_TAKEN = 0.1
"""Others took memory when what is open to the job shrank by this part since it began."""


class Watch:
    """Holds a job before a batch until disk and memory can take it.

    Parameters
    ----------
    reporter : Reporter
        Of the job; `pause` is shown by it, and `resume` and `cancel` come through it.
    place : Path or None
        On the disk that is written to; None while nothing is written.
    memory : bool
        Whether it computes in the memory of this machine.

    Notes
    -----
    Memory is waited for only when others took some since the job began: a layer that is too large for the machine was
    warned of, and no waiting would help it. `resume` goes on in spite of it, and takes the present as the beginning.
    """

    def __init__(self, reporter: Reporter, place: Path | None, *, memory: bool) -> None:
        self._reporter, self._place, self._watched = reporter, place, memory
        self._unwritten: dict[int, int] = {}
        self._at_first = self._open_to_us()

    def wait(self, batch: Batch, on_disk: Mapping[int, int]) -> None:
        """Wait until the disk takes these many bytes of each item, and the memory the batch."""
        self._unwritten |= on_disk
        self._wait_for_disk()
        # Its inputs are there already.
        needed = max(task.working for task in batch) - sum(task.read for task in batch)
        self.wait_for_memory(batch[0].name, needed)

    def written(self, item: int) -> None:
        """An item needs no more of the disk."""
        self._unwritten.pop(item, None)

    def _wait_for_disk(self) -> None:
        place = self._place
        if place is None:
            return

        def needed() -> int:
            return _RESERVE + sum(list(self._unwritten.values()))

        free = free_bytes(place)
        if free < needed():
            full = DiskFullError(place, needed(), free, cure="free some: the job goes on by itself")
            self._reporter.hold(str(full), lambda: free_bytes(place) >= needed())

    def wait_for_memory(self, name: str, needed: int) -> None:
        """Wait until the memory takes so many bytes more, which something of this name can need."""
        available = self._lacking(needed)
        if available is None:
            return
        told = (
            f"{name} can need {about_size(needed)} of memory, {about_size(available)} are left by other "
            "programs; free some: the job goes on by itself, or at once with `globa-tui resume`"
        )
        if self._reporter.hold(told, lambda: self._lacking(needed) is None):
            self._at_first = self._open_to_us()

    def _lacking(self, needed: int) -> int | None:
        """What is available, when it is less than needed and others are why."""
        found = available_memory() if self._watched else None
        if found is None or found[0] >= needed or self._open_to_us() >= (1 - _TAKEN) * self._at_first:
            return None
        return found[0]

    def _open_to_us(self) -> int:
        """Bytes that this process holds or could have."""
        found = available_memory() if self._watched else None
        return 0 if found is None else found[0] + own_memory()
