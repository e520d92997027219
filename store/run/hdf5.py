"""HDF5 files that a stranger may have made: opening them, and finding plain groups and arrays in them.

Only arrays that lie inside the file are given out. Links out of it, datasets stored elsewhere, filters and sizes that
the file does not hold are refused before anything is allocated.
"""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import RunDamagedError, StoreError
from store.run.attributes import read_int
from store.run.layout import REPRESENTATION
from store.run.manifest import check_format
from store.run.rehearsal import require_rehearsed
from store.run.structure import require_plain_file, require_sound_object

if TYPE_CHECKING:
    import h5py

_NOT_DAMAGE = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
)
_OLDEST_FORM_ONLY = 3
"""Format from which on no group has an index of its names."""
_HARD = 0
"""HDF5's number for a link to something in the same file."""
_DEEPEST = 8
"""Levels of groups below a layer; ours have three."""


@dataclass(frozen=True)
class _Opened:
    """What is known of an open file."""

    may_have_index: bool
    """Whether it is of an earlier format, whose groups may have an index of their names."""
    cure: str
    """What to do when it is damaged."""


_OPENED: dict[int, _Opened] = {}
"""By handle."""


def cure_of(path: Path, *, packed: bool) -> str:
    """What to do about a damaged file: what lies in a run's folder can be computed again."""
    if packed:
        return "pack the run again, or copy the file again from where it is whole"
    if path.parent.name == REPRESENTATION:
        return "run `globa-tui represent` again"
    return "resume the analysis, which computes the layer again"


@contextlib.contextmanager
def open_file(path: Path, *, packed: bool = False) -> Iterator[h5py.File]:
    """Open an HDF5 file of ours for reading, without locks, checked for its format version.

    Parameters
    ----------
    path : Path
        The file.
    packed : bool
        Whether it is a run by itself, which the user named: it may be a link, what lies in a run may not.

    Raises
    ------
    OSError
        It is not there, or the operating system refuses.
    RunDamagedError
        HDF5 cannot read it, while opening or later inside the block.
    RunForeignError
        A newer version wrote it.
    """
    import h5py

    cure = cure_of(path, packed=packed)
    if not stat.S_ISREG(path.stat(follow_symlinks=packed).st_mode) or (not packed and path.parent.is_symlink()):
        why = "" if packed else f", and a run may not point outside its folder; delete it and {cure}"
        msg = f"{path}: not a plain file{why}"
        raise RunDamagedError(msg)
    try:
        with path.open("rb") as plain:
            require_plain_file(plain.fileno())
        with h5py.File(path, "r", locking=False) as file, _registered(file, str(path), cure):
            yield file
    except StoreError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in _NOT_DAMAGE:
            raise
        msg = f"{path}: damaged ({_one_line(error)}); {cure}"
        raise RunDamagedError(msg) from error


@contextlib.contextmanager
def _registered(file: h5py.File, where: str, cure: str) -> Iterator[None]:
    """Check the format version, and note what the functions below need to know of the file."""
    version, handle = read_int(file, "format"), file.id.get_vfd_handle()
    check_format(version, where)
    _OPENED[handle] = _Opened(version is not None and version < _OLDEST_FORM_ONLY, cure)
    try:
        yield
    finally:
        del _OPENED[handle]


def subgroup(parent: h5py.Group, name: str) -> h5py.Group:
    """Group of that name, reached by no link that could lead out of the file.

    Raises
    ------
    RunDamagedError
        There is none.
    """
    import h5py

    node = _walk(parent, name)
    if not isinstance(node, h5py.Group):
        raise damaged(parent, name, "not a group")
    return node


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Array of that name, whose bytes lie in one piece in this file, as many as its shape says.

    Raises
    ------
    RunDamagedError
        There is none, or it is stored otherwise.
    """
    return _plain(group, name, _walk(group, name))


def _plain(group: h5py.Group, name: str, node: object) -> h5py.Dataset:
    """Require a dataset whose bytes are plain, in this file, and all there."""
    import h5py

    if not isinstance(node, h5py.Dataset) or node.shape is None:
        raise damaged(group, name, "not an array")
    if node.external or node.is_virtual or node.chunks is not None:
        raise damaged(group, name, "not stored in one piece inside the file")
    if node.id.get_storage_size() != node.nbytes:
        raise damaged(group, name, f"{node.nbytes:,} bytes claimed, {node.id.get_storage_size():,} stored")
    return node


def _walk(parent: h5py.Group, name: str) -> object:
    """Follow a path of names, but no link that could lead elsewhere."""
    import h5py

    node: object = parent
    for part in name.split("/"):
        if not isinstance(node, h5py.Group):
            raise damaged(parent, name, "missing")
        node, _ = _child(node, part)
    return node


def _child(group: h5py.Group, part: str) -> tuple[object, int]:
    """What a group holds under a name, and where in the file, once HDF5 can be let at it."""
    key = part.encode()
    if not group.id.links.exists(key):
        raise damaged(group, part, "missing")
    link = group.id.links.get_info(key)
    if link.type != _HARD:
        raise damaged(group, part, "a link, which a run may not hold")
    try:
        handle = group.file.id.get_vfd_handle()
        if require_sound_object(handle, link.u, may_have_index=_OPENED[handle].may_have_index):
            require_rehearsed(group.file.filename)
    except ValueError as error:
        raise damaged(group, part, str(error)) from None
    return group[part], link.u


def damaged(parent: h5py.Group, name: str, what: str) -> RunDamagedError:
    """The error that says what is wrong with something in a group of an open file, and what to do."""
    key = name if name.startswith("/") else f"{str(parent.name).rstrip('/')}/{name}"
    cure = _OPENED[parent.file.id.get_vfd_handle()].cure
    return RunDamagedError(f"{parent.file.filename}: {key}: {what}; {cure}")


def datasets_below(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets below a group, each as `dataset` gives it, with its path from there.

    Raises
    ------
    RunDamagedError
        One is not plain, or the groups are no tree of a few levels.
    """
    yield from _below(group, "", set())


def _below(group: h5py.Group, prefix: str, seen: set[int]) -> Iterator[tuple[str, h5py.Dataset]]:
    import h5py

    for part in group:
        if not isinstance(part, str):  # no UTF-8
            raise damaged(group, repr(part), "a name that globa-tui does not give")
        node, address = _child(group, part)
        if not isinstance(node, h5py.Group):
            yield prefix + part, _plain(group, part, node)
            continue
        if address in seen or prefix.count("/") == _DEEPEST:
            raise damaged(group, part, "groups that are no tree of a few levels")
        seen.add(address)
        yield from _below(node, f"{prefix}{part}/", seen)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
