"""The folder a merge writes to: a hidden one beside OUT, which takes OUT's name when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from store import files
from store.checkpoints.text import shown
from store.errors import OutputExistsError, StoreError
from store.merged.owner import is_abandoned, write_owner
from store.run.layout import MANIFEST


def check_place(out: Path, protected: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse an OUT that exists (unless it may be overwritten), holds a source, or lies inside a run.

    Raises
    ------
    OutputExistsError
        With the reason and the cure.
    """
    if not out.name:
        message = f"{shown(out)}: cannot be an output; choose a folder that does not exist yet"
        raise OutputExistsError(message)
    target = _real(out)
    for source in protected:
        if _real(source).is_relative_to(target):
            message = f"{shown(out)}: holds the source {shown(source)}; choose another output folder"
            raise OutputExistsError(message)
    inside = next((folder for folder in target.parents if (folder / MANIFEST).is_file()), None)
    if inside is not None:
        message = f"{shown(out)}: lies inside the run {shown(inside)}; choose an output folder outside of it"
        raise OutputExistsError(message)
    if not os.path.lexists(out):
        return
    if not overwrite:
        message = f"{shown(out)}: already exists; choose another output folder, or replace it with --overwrite"
        raise OutputExistsError(message)
    if not _is_output(out):
        message = f"{shown(out)}: is not a plain model folder, so it is not overwritten; move it away or choose another"
        raise OutputExistsError(message)


def make_temporary(out: Path, earlier: Path | None = None) -> Path:
    """Make the hidden folder beside OUT, or take over an earlier one that a dead process left.

    Raises
    ------
    StoreError
        When this process already writes to the same OUT, or the folder cannot be made.
    """
    temporary = _hidden(out, "tmp", os.getpid())
    with files.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        if temporary.exists() and temporary != earlier:
            message = f"{shown(out)}: is being written right now (by process {os.getpid()}); wait for it"
            raise StoreError(message)
        if earlier is None:
            temporary.mkdir()
        else:
            files.rename(earlier, temporary)
        write_owner(temporary)
    return temporary


def move_into_place(temporary: Path, out: Path, *, overwrite: bool) -> None:
    """Give the finished folder its name. An old OUT steps aside first, and is removed afterwards."""
    old = _hidden(out, "old", os.getpid())
    if os.path.lexists(out):
        check_place(out, (), overwrite=overwrite)
        files.rename(out, old)
    try:
        files.rename(temporary, out)
    except OSError:
        if old.exists():
            files.rename(old, out)
        raise
    files.sync_folder(out.parent)
    if old.exists():
        shutil.rmtree(old, ignore_errors=True)


def clear_abandoned(out: Path, is_wanted: Callable[[Path], bool] = lambda path: False) -> Path | None:
    """Remove what dead processes left beside OUT; give back an old OUT whose replacement never arrived.

    Returns
    -------
    Path or None
        The first temporary folder that `is_wanted` accepts, which stays.
    """
    wanted: Path | None = None
    for what in ("old", "tmp") if out.name else ():
        prefix = _hidden(out, what, 0).name.removesuffix("0")
        for path in _folders(out.parent, prefix):
            if not is_abandoned(path, int(path.name.removeprefix(prefix))):
                continue
            if what == "old" and not os.path.lexists(out):
                files.rename(path, out)
            elif what == "tmp" and wanted is None and is_wanted(path):
                wanted = path
            else:
                shutil.rmtree(path, ignore_errors=True)
    return wanted


def _folders(parent: Path, prefix: str) -> list[Path]:
    """List the folders named ``<prefix><digits>``."""
    if not parent.is_dir():
        return []
    found = (path for path in sorted(parent.iterdir()) if path.name.startswith(prefix))
    return [
        path for path in found if path.name.removeprefix(prefix).isdecimal() and path.is_dir() and not path.is_symlink()
    ]


def _hidden(out: Path, what: str, pid: int) -> Path:
    return out.with_name(f".{out.name}.{what}-{pid}")


def _real(path: Path) -> Path:
    # Path.resolve raises on loops of links in Python 3.11 and 3.12.
    return Path(os.path.realpath(path))


def _is_output(out: Path) -> bool:
    """Whether a folder holds nothing but the files of one model, so that replacing it destroys nothing else."""
    if out.is_symlink() or not out.is_dir():
        return False
    entries = list(out.iterdir())
    names = {entry.name for entry in entries}
    whole = not names or bool(names & {"model.safetensors", "model.safetensors.index.json"})
    return whole and all(entry.is_file() and not entry.is_symlink() for entry in entries)
