"""Names inside a run folder, and the version of its format."""

from __future__ import annotations

import re
from pathlib import Path

FORMAT = 3
"""Version of the format; docs/store.md describes it."""

SUFFIX = ".globa"
MANIFEST = "run.json"
SUMMARY = "summary.jsonl"
LAYERS = "layers"
LOCK = "lock"
JOBS = "jobs"
REPRESENTATION = "representation"
RESULT = "result.json"

_SLUG_LENGTH = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LAYER_FILE = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,200}\.h5")


def run_folder(path: str | Path) -> Path:
    """Where a run of this name is kept.

    Parameters
    ----------
    path : str or Path
        As the user wrote it: `RUN`, `RUN.globa`, or a packed `RUN.h5`.

    Returns
    -------
    Path
        `RUN.globa`, unless the name already ends so, ends in `.h5`, or is a folder that holds a run.
    """
    given = Path(path).expanduser()
    if given.suffix in {SUFFIX, ".h5"} or (given / MANIFEST).is_file():
        return given
    return given.with_name(given.name + SUFFIX) if given.name else given


def group_name(index: int) -> str:
    """Name of a layer's group below `/layers` of an HDF5 file."""
    return f"{index:08d}"


def layer_file_name(index: int, name: str) -> str:
    """File name for a layer: its index, and as much of its name as is safe in a file name."""
    slug = _UNSAFE.sub("_", name)[:_SLUG_LENGTH].strip("._-")
    return f"{group_name(index)}-{slug or 'layer'}.h5"


def layer_file(folder: Path, name: object) -> Path | None:
    """Path of a layer file that a summary names, or None when the name leads anywhere else than into `layers/`."""
    if not isinstance(name, str):
        return None
    parent, slash, file = name.partition("/")
    if parent != LAYERS or not slash or not _LAYER_FILE.fullmatch(file):
        return None
    return folder / LAYERS / file
