"""``globa-tui doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from globa_tui.cli.options import JsonOption

EXAMPLE = """
globa-tui doctor
globa-tui doctor /data/runs --json
"""

_PACKAGES = ("torch", "numpy", "h5py", "safetensors", "huggingface-hub", "transformers", "textual", "rich", "typer")
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "CUDA_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF",
    "HF_HUB_OFFLINE",
    "HDF5_USE_FILE_LOCKING",
    "TEXTUAL_FPS",
)
_PROBE = """
import json, sys
import torch
found = {"threads": torch.get_num_threads(), "devices": ["cpu"], "cuda_build": torch.version.cuda}
for n in range(torch.cuda.device_count()):
    properties = torch.cuda.get_device_properties(n)
    found["devices"].append(f"cuda:{n} {properties.name}, {properties.total_memory / 1e9:.0f} GB")
if torch.backends.mps.is_available():
    found["devices"].append("mps")
json.dump(found, sys.stdout)
"""


def doctor(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where runs and merges will be written.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Show versions, devices, terminal and disk. Put it into a report of a problem; it shows no secrets."""
    import json

    report = {
        "versions": _versions(),
        "machine": _machine(),
        "torch": _torch(),
        "terminal": _terminal(),
        "environment": _environment(),
        "disk": _disk(folder),
    }
    if as_json:
        print(json.dumps({"schema": 1, **report}, indent=2))
        return
    for section, facts in report.items():
        print(section)
        for name, value in facts.items():
            print(f"  {name:<18} {_words(value)}")


def _versions() -> dict[str, Any]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from globa_tui import __version__

    found: dict[str, Any] = {"globa-tui": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["HDF5"] = _hdf5()
    return found


def _machine() -> dict[str, Any]:
    import os
    import platform

    from globa_tui.memory import available_memory

    facts: dict[str, Any] = {"system": platform.platform(), "processors": os.cpu_count()}
    if hasattr(os, "sched_getaffinity"):
        facts["usable"] = len(os.sched_getaffinity(0))
    try:
        facts["memory"] = _bytes(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        facts["memory"] = None
    found = available_memory()
    if found is not None:
        facts["memory"] = f"{_bytes(found[1])}, {_bytes(found[0])} available"
    return facts


def _torch() -> dict[str, Any]:
    """What torch sees, asked in a process of its own: a broken driver must not take the report with it."""
    import json
    import subprocess
    import sys

    try:
        # -P: a file of the working folder that is called like a library must not be imported instead of it.
        probe = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return {"devices": None, "error": "torch did not answer within 120 s"}
    if probe.returncode != 0:
        return {"devices": None, "error": (probe.stderr.strip().splitlines() or ["no answer"])[-1]}
    found: dict[str, Any] = json.loads(probe.stdout)
    return found


def _hdf5() -> str:
    try:
        from h5py.version import hdf5_version
    except ImportError as error:
        return f"cannot be loaded: {error}"
    return str(hdf5_version)


def _environment() -> dict[str, Any]:
    """Variables that change what the libraries do. Only these: others may hold tokens."""
    import os

    return {name: os.environ[name] for name in _VARIABLES if name in os.environ} or {"none": "of those that matter"}


def _terminal() -> dict[str, Any]:
    import os
    import shutil
    import sys

    from globa_tui.tui import terminal_trouble

    size = shutil.get_terminal_size()
    variables = ("TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL")
    return {
        "interface": terminal_trouble() or "can be shown",
        "size": f"{size.columns}x{size.lines}",
        "stdout": f"{'terminal' if sys.stdout.isatty() else 'no terminal'}, {sys.stdout.encoding}",
        **{name: os.environ.get(name) for name in variables},
        "inside": [name for name in ("TMUX", "STY", "SSH_CONNECTION") if name in os.environ],
    }


def _disk(folder: Path) -> dict[str, Any]:
    import os
    import shutil

    cache = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    facts: dict[str, Any] = {}
    for name, path in (("runs", folder.absolute()), ("hub cache", cache)):
        existing = next((place for place in (path, *path.parents) if place.exists()), path)
        try:
            facts[name] = f"{_bytes(shutil.disk_usage(existing).free)} free in {_short(path)}{_file_system(existing)}"
        except OSError as error:
            facts[name] = f"{_short(path)}: {error.strerror}"
    return facts


def _short(path: Path) -> str:
    """The path with the home folder, which names its user, as a tilde."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _file_system(path: Path) -> str:
    """Kind of the file system, on Linux: locks and syncs differ between them."""
    try:
        lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [line for line in lines if path.resolve().is_relative_to(line[1].replace("\\040", " "))]
    return f" ({max(holding, key=lambda line: len(line[1]))[2]})" if holding else ""


def _bytes(size: float) -> str:
    from globa_tui.values import about_size

    return about_size(size)


def _words(value: Any) -> str:
    from globa_tui.diagnostics import printable

    if value is None:
        return "-"
    return printable(", ".join(map(str, value)) or "-") if isinstance(value, list) else printable(value)
