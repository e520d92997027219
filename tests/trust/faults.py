"""Faults of a disk, and the end of a process, at a chosen access to the disk.

A plan is `OPERATION:ACTION:NUMBER`. OPERATION is `open`, `write`, `fsync`, `rename`, or `any` of them; only accesses
that change something below the watched folder count. Or it is `read`, of a source. ACTION is the name of an error
(`ENOSPC`), `SHORT` (half is written or read, and said to be), `HALF` (half is written, then the process is killed), or
a signal (`SIGKILL`). NUMBER counts from 1; with a `+` after it, the accesses that follow fail as well.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

VARIABLE = "GLOBA_TRUST_PLAN"
WATCHED = "GLOBA_TRUST_WATCHED"
COUNTS = "GLOBA_TRUST_COUNTS"
CLOCK = "GLOBA_TRUST_CLOCK"

OPERATIONS = {
    "write_some": "write",
    "append_some": "write",
    "cut": "write",
    "sync": "fsync",
    "rename": "rename",
}
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Plan:
    operation: str = "none"
    action: str = ""
    number: int = 0
    stays: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def parse(cls, text: str) -> Plan:
        if not text:
            return cls()
        operation, action, number = text.split(":")
        return cls(operation, action, int(number.rstrip("+")), number.endswith("+"))

    def due(self, operation: str) -> bool:
        """Count one access; whether the fault belongs to it."""
        self.counts[operation] += 1
        if operation != "read":
            self.counts["any"] += 1
        if self.operation not in (operation, "any" if operation != "read" else ""):
            return False
        count = self.counts[self.operation]
        return count == self.number or (self.stays and count > self.number)

    def strike(self) -> None:
        """Raise the error, or send the signal."""
        if self.action.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.action))
        elif hasattr(errno, self.action):
            code = getattr(errno, self.action)
            raise OSError(code, os.strerror(code))


def install() -> Plan:
    """Carry out the plan of the environment in this process."""
    plan = Plan.parse(os.environ.get(VARIABLE, ""))
    watched = os.environ.get(WATCHED, "")
    if watched:
        from store import files

        for name, operation in OPERATIONS.items():
            setattr(files, name, _wrapped(getattr(files, name), operation, plan))
        os.open = _opening(os.open, watched, plan)  # type: ignore[assignment]
        _reading(plan)
    jump = float(os.environ.get(CLOCK, "0"))
    if jump:
        _jumping(jump)
    return plan


def _wrapped(real: Callable[..., Any], operation: str, plan: Plan) -> Callable[..., Any]:
    def access(*args: Any) -> Any:
        if plan.due(operation):
            if plan.action in ("SHORT", "HALF") and isinstance(args[1], memoryview):
                done = real(args[0], args[1][: max(1, len(args[1]) // 2)], *args[2:])
                if plan.action == "HALF":
                    os.kill(os.getpid(), signal.SIGKILL)
                return done
            plan.strike()
        return real(*args)

    return access


def _opening(real: Callable[..., int], watched: str, plan: Plan) -> Callable[..., int]:
    def opening(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if (flags & _CHANGES) and os.path.abspath(path).startswith(watched) and plan.due("open"):  # noqa: PTH100
            plan.strike()
        return real(path, flags, *args, **more)

    return opening


def _reading(plan: Plan) -> None:
    """Let reads of checkpoints fail, as on a mount that was dropped, or give less than was asked for."""
    from store.checkpoints import files as sources

    class Source(FileIO):
        def readinto(self, buffer: Any) -> int | None:
            return super().readinto(memoryview(buffer)[: self._size(len(buffer))])

        def read(self, size: int = -1) -> bytes | None:  # type: ignore[override]
            return super().read(self._size(size))

        def _size(self, size: int) -> int:
            if plan.due("read"):
                plan.strike()
                return max(1, size // 2) if plan.action == "SHORT" and size > 0 else size
            return size

    sources.FileIO = Source  # type: ignore[attr-defined]


def _jumping(jump: float) -> None:
    """Let the wall clock jump forth and back by so many seconds, every few looks at it."""
    real, looks = time.time, [0]

    def now() -> float:
        looks[0] += 1
        return real() + (jump if looks[0] % 6 < 3 else -jump)

    time.time = now


def report(plan: Plan) -> None:
    """Write down how often each operation was used, where the environment says."""
    place = os.environ.get(COUNTS)
    if place:
        Path(place).write_text(json.dumps(plan.counts))
