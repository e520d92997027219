"""A command in this process, watched: its time, its memory, and every file it opens or changes.

A command that hangs in C never comes back to Python: the whole process ends then, and leaves `hang.txt`, with where it
was, beside the files that it was given.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.records import Result, call

SECONDS = 20
MEMORY = 800_000_000
"""Address space that a command on files of a few kilobytes may take besides what the process has."""

_WATCHED = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
}
_seen: list[str] | None = None
_hooked = False


class HangsError(BaseException):
    """A command took far too long; no handler of errors may swallow this."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event in _WATCHED:
        for argument in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
            if isinstance(argument, (str, bytes, os.PathLike)):
                _seen.append(os.path.abspath(os.fsdecode(argument)))  # noqa: PTH100


def _homes() -> tuple[str, ...]:
    """Where Python, its libraries and the system's own facts are, which every program reads."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "data")
    places = {sysconfig.get_path(name) for name in names} | {sys.prefix, sys.base_prefix}
    places |= {place for place in sys.path if place.endswith("site-packages")}
    places |= {os.path.realpath(place) for place in places}
    root = Path(__file__).parents[2]
    sources = {str(root / name) for name in ("globa_tui", "analysis", "store", "tests")}
    return tuple(sorted(places | sources | {"/proc", "/sys", "/etc", "/dev/null", "/dev/shm", "/usr/share/zoneinfo"}))


HOMES = _homes()


@contextmanager
def watched(*folders: Path) -> Iterator[None]:
    """Fail when the block takes too long or too much memory, or touches a file outside these folders."""
    global _seen, _hooked  # noqa: PLW0603
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True

    def too_long(number: int, frame: object) -> None:
        msg = f"still running after {SECONDS} s"
        raise HangsError(msg)

    before = signal.signal(signal.SIGALRM, too_long)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    told = (folders[0] / "hang.txt").open("w")
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True, file=told)
    folder = Path.cwd()
    # Names that are relative to an open folder, as rmtree uses, count as relative to this one.
    os.chdir(folders[0])
    _seen = []
    try:
        yield
    finally:
        seen, _seen = _seen, None
        faulthandler.cancel_dump_traceback_later()
        told.close()
        os.chdir(folder)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    allowed = (*HOMES, *map(str, folders), *(os.path.realpath(folder) for folder in folders))
    outside = sorted({path for path in seen if not any(path == a or path.startswith(a + "/") for a in allowed)})
    assert not outside, f"touched outside the named folders: {outside}"


def judged(codes: set[int], *words: object, folders: tuple[Path, ...]) -> Result:
    """Run a command on hostile files: a result, or one clear line and one of these exit codes."""
    with watched(*folders):
        result = call(*map(str, words))
    assert result.code in codes, result
    assert "Traceback" not in result.err, result
    assert "--debug shows where" not in result.err, f"an error that nobody foresaw: {result.err}"
    assert "out of memory" not in result.err, result
    for line in result.err.splitlines():
        assert line.isprintable(), ascii(line)
        assert line.startswith("globa-tui: "), ascii(line)
    for line in result.out.split("\n"):
        assert line.isprintable(), ascii(line)
    if result.code:
        assert result.err, "failed without a word"
    return result
