"""How much memory there is, from what Linux tells; free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN = Path("/proc/self/status")
_OWN_GROUPS = Path("/proc/self/cgroup")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> tuple[int, int] | None:
    """Bytes that are available now, and in all, to this process; None where nobody tells.

    Notes
    -----
    The least of what the machine has and of what every control group around this process may still take, in either
    version: a container, a job of a cluster or a user may have less than the machine. Files that the kernel keeps in
    memory count as available, for it drops them when memory is asked for.
    """
    try:
        facts = _kilobytes(_MEMINFO)
        available, total = facts["MemAvailable"] + facts.get("SwapFree", 0), facts["MemTotal"] + facts["SwapTotal"]
    except (OSError, ValueError, KeyError, IndexError):
        return None
    for limit, left in _groups():
        available, total = min(available, left), min(total, limit)
    return available, total


def own_memory() -> int:
    """Bytes that this process holds and the kernel cannot drop; 0 where nobody tells."""
    try:
        facts = _kilobytes(_OWN)
    except (OSError, ValueError, IndexError):
        return 0
    return facts.get("RssAnon", 0) + facts.get("RssShmem", 0)


def _kilobytes(path: Path) -> dict[str, int]:
    lines = path.read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}


def _groups() -> Iterator[tuple[int, int]]:
    """Of every control group around this process that has a limit: the limit, and what is left of it."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers:
            yield from _limits(_CGROUP, path, ("memory.max", "memory.current", ""))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            yield from _limits(_CGROUP / "memory", path, names)


def _limits(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[tuple[int, int]]:
    """The limits from a group up to the root; in a container its path may be one of the world outside."""
    place = root / path.strip("/")
    for folder in (place, *place.parents):
        limit, used = _number(folder / names[0]), _number(folder / names[1])
        if limit is not None and used is not None:
            yield limit, max(limit - used + _droppable(folder / "memory.stat", names[2]), 0)
        if folder == root:
            return


def _droppable(path: Path, prefix: str) -> int:
    """Bytes of files in memory, which count as used until the kernel drops them."""
    try:
        facts = dict(line.split() for line in path.read_text().splitlines())
        return int(facts[f"{prefix}inactive_file"]) + int(facts[f"{prefix}active_file"])
    except (OSError, ValueError, KeyError):
        return 0


def _number(path: Path) -> int | None:
    """None also for `max`, that is no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
