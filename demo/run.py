"""The main job on the demo family: ``python -m demo.run``, which is ``make demo``.

Analyses the base and two fine-tunes, prints the table, merges twice, evaluates, and opens the terminal interface where
there is a terminal.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent
OUT = ROOT / "out"
MODELS = ROOT / "models"
MERGES = {"readme": ["--preset", "readme"], "all-0.6": ["--preset", "uniform-0.6"]}


def main() -> int:
    """Run the demo; the exit code of the first command that fails."""
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    run = OUT / "math-code"
    base, math, code = (str(_here(MODELS / name)) for name in ("base", "math", "code"))
    _globa("analyze", base, math, code, "--store", str(_here(run)), "--exclude", "embed")
    _globa("show", str(_here(run)))
    merged = []
    for name, flags in MERGES.items():
        merged.append(str(_here(OUT / name)))
        _globa("merge", str(_here(run)), "-o", merged[-1], *flags)
    print("\nWhat the models can do (held-out data, a part of it):", flush=True)
    _call([sys.executable, "-m", "demo.evaluate", base, math, code, *merged, "--limit", "100"])
    print(f"\nDone in {time.monotonic() - started:.0f} s.", flush=True)
    command = ["globa-tui", "open", str(_here(run))]
    if sys.stdin.isatty() and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return subprocess.call([sys.executable, "-m", "globa_tui", *command[1:]])
    print(f"In a terminal, look around with: {Path(sys.executable).parent / command[0]} {shlex.join(command[1:])}")
    return 0


def _here(path: Path) -> Path:
    """The path as seen from the current folder, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _globa(*arguments: str) -> None:
    print("\n$ globa-tui", shlex.join(arguments), flush=True)
    _call([sys.executable, "-m", "globa_tui", *arguments])


def _call(command: list[str]) -> None:
    done = subprocess.call(command)
    if done:
        sys.exit(done)


if __name__ == "__main__":
    sys.exit(main())
