"""The folder a merge writes to: a hidden one beside OUT, which takes OUT's name when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from store.checkpoints.text import shown
from store.errors import DiskFullError, OutputExistsError, StoreError
from store.merged.process import is_abandoned, write_owner

_MARGIN = 16 * 1024 * 1024
"""Bytes kept free for configs, tokenizer and the file system's own books."""


def check_place(out: Path, protected: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse an OUT that exists (unless it may be overwritten), or whose replacement would destroy a source.

    Raises
    ------
    OutputExistsError
        With the reason and the cure.
    """
    target = out.resolve()
    for source in protected:
        if source.resolve().is_relative_to(target):
            message = f"{shown(out)}: holds the source {shown(source)}; choose another output folder"
            raise OutputExistsError(message)
    if not os.path.lexists(out):
        return
    if not overwrite:
        message = f"{shown(out)}: already exists; choose another output folder or allow overwriting"
        raise OutputExistsError(message)
    if not _is_output(out):
        message = f"{shown(out)}: is not a plain model folder, so it is not overwritten; move it away or choose another"
        raise OutputExistsError(message)


def check_space(folder: Path, needed: int) -> None:
    """Raise `DiskFullError` when the disk of a folder cannot take ``needed`` more bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + _MARGIN:
        raise DiskFullError(folder, needed + _MARGIN, free)


def make_temporary(out: Path) -> Path:
    """Make the hidden folder beside OUT, after clearing away what dead processes left there.

    Raises
    ------
    StoreError
        When this process already writes to the same OUT, or the folder cannot be made.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _clear(out)
        temporary = _hidden(out, "tmp", os.getpid())
        temporary.mkdir()
        write_owner(temporary)
    except FileExistsError as error:
        message = f"{shown(out)}: is being written right now (by process {os.getpid()}); wait for it"
        raise StoreError(message) from error
    except OSError as error:
        message = f"{shown(out)}: cannot be written ({error.strerror}); choose another output folder"
        raise StoreError(message) from error
    return temporary


def move_into_place(temporary: Path, out: Path, *, overwrite: bool) -> None:
    """Give the finished folder its name. An old OUT steps aside first, and is removed afterwards."""
    old = _hidden(out, "old", os.getpid())
    if os.path.lexists(out):
        check_place(out, (), overwrite=overwrite)
        out.rename(old)
    try:
        temporary.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    sync_folder(out.parent)
    if old.exists():
        shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden(out: Path, what: str, pid: int) -> Path:
    return out.with_name(f".{out.name}.{what}-{pid}")


def _is_output(out: Path) -> bool:
    """Whether a folder holds nothing but the files of one model, so that replacing it destroys nothing else."""
    if out.is_symlink() or not out.is_dir():
        return False
    entries = list(out.iterdir())
    names = {entry.name for entry in entries}
    whole = not names or bool(names & {"model.safetensors", "model.safetensors.index.json"})
    return whole and all(entry.is_file() and not entry.is_symlink() for entry in entries)


def _clear(out: Path) -> None:
    """Remove temporary folders of dead processes; give back an old OUT whose replacement never arrived."""
    for what in ("old", "tmp"):
        for path in sorted(out.parent.glob(_literal(f".{out.name}.{what}-") + "*")):
            number = path.name.rpartition("-")[2]
            if path.is_symlink() or not path.is_dir() or not number.isdecimal():
                continue
            if not is_abandoned(path, int(number)):
                continue
            if what == "old" and not os.path.lexists(out):
                path.rename(out)
            else:
                shutil.rmtree(path)


def _literal(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
