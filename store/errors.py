"""Errors of the store, one class for each thing a reader can do about it."""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """Base of everything this package raises on purpose.

    The message is one line: the file, the tensor or key, both values where two differ, and the cure.
    """


class CheckpointError(StoreError):
    """A source file is missing, broken or hostile: name another source, or fetch it again."""


class MismatchError(StoreError):
    """Checkpoints do not fit each other: use fine-tunes of the same base."""


class OutputExistsError(StoreError):
    """The output is already there: choose another name, or allow overwriting."""


class DiskFullError(StoreError):
    """There is not enough space: free some, or write to another disk.

    Parameters
    ----------
    path : Path
        What was being written.
    needed : int or None
        Bytes that were needed, when known.
    free : int or None
        Bytes that were free on that disk, when known.
    cure : str
        What to do about it.
    """

    def __init__(
        self,
        path: Path,
        needed: int | None = None,
        free: int | None = None,
        cure: str = "free some space or use another disk, then run again",
    ) -> None:
        self.path = Path(path)
        self.needed = needed
        self.free = free
        amounts = [f"{needed:,} bytes needed"] if needed is not None else []
        if free is not None:
            amounts.append(f"{free:,} free")
        detail = f" ({', '.join(amounts)})" if amounts else ""
        super().__init__(f"{self.path}: the disk is full{detail}; {cure}")


class RunError(StoreError):
    """An analysis run cannot be used as it is."""


class RunNotFoundError(RunError):
    """There is no run at that path: check the name, or analyse first."""


class RunBusyError(RunError):
    """Another process writes this run: wait for it, or cancel it."""


class RunDamagedError(RunError):
    """A file of the run cannot be read; the message says what gives it back."""


class RunForeignError(RunError):
    """The run belongs to other sources, settings or a newer version: use another folder, or start afresh."""


class RunIncompleteError(RunError):
    """Layers are missing: resume the analysis until it is complete."""
