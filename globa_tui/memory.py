"""How much memory there is, from what Linux tells; free of torch."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> tuple[int, int] | None:
    """Bytes that are available now, and in all, to this process; None where nobody tells."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
        available, total = facts["MemAvailable"] + facts.get("SwapFree", 0), facts["MemTotal"] + facts["SwapTotal"]
    except (OSError, ValueError, KeyError, IndexError):
        return None
    # A container may have less than its machine.
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        available, total = min(available, max(limit - used, 0)), min(total, limit)
    return available, total


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
