"""Structures of an HDF5 file that a stranger may have made, looked at before HDF5 walks through them.

HDF5 follows a list of free places, or a header that is continued elsewhere, wherever it leads: round in a circle, for
ever, and taking memory all the while. No error and no limit of Python reaches it there. What is written here has
HDF5's oldest form, and only that is read, so that there is little to look at. The reasons are in
docs/decisions/0014-strangers-hdf5.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = (1 << 64) - 1
_NO_MORE = 1
"""Ends a list of free places."""
_MOST_PARTS, _MOST_BYTES, _MOST_FREE = 64, 1 << 20, 4096
"""Parts of a header, bytes of each, and free places of a heap: our own have a handful, a few hundred, and one."""

_LINKS, _EXTERNAL, _LAYOUT, _CONTINUED, _SYMBOLS, _ATTRIBUTES = 0x02, 0x07, 0x08, 0x10, 0x11, 0x15
_SHARED = 2
_VIRTUAL = 3


def require_plain_file(handle: int) -> None:
    """Check the beginning of an open file, and its root group.

    Raises
    ------
    ValueError
        It is no HDF5 file, not of the form that is written here, or one that HDF5 could not leave.
    """
    head = os.pread(handle, 96, 0)
    if len(head) < 96 or not head.startswith(_SIGNATURE):
        msg = "not an HDF5 file"
        raise ValueError(msg)
    sizes, base, driver = head[13:15], _word(head, 24), _word(head, 48)
    if head[8] or sizes != b"\x08\x08" or base or driver != _UNDEFINED:
        msg = "not the form of HDF5 that globa-tui writes"
        raise ValueError(msg)
    if int.from_bytes(head[72:76], "little") == 1:
        _require_sound_heap(handle, _word(head, 88))
    require_sound_object(handle, _word(head, 64))


def require_sound_object(handle: int, address: int, *, may_have_index: bool = False) -> bool:
    """Check the header of a group or dataset, and the names of a group.

    An index is how HDF5 since 1.8 keeps many names or attributes. A damaged one does not only hang HDF5 2.0: it divides
    by zero and reads where nothing is, with right checksums. Groups of runs before format 3 have them.

    Returns
    -------
    bool
        Whether it has an index.

    Raises
    ------
    ValueError
        HDF5 could not leave it, or it refers to something outside of the file or of itself.
    """
    indexed = False
    for kind, flags, body in _messages(handle, address):
        if flags & _SHARED:
            msg = "its header refers to another"
            raise ValueError(msg)
        if kind == _EXTERNAL or (kind == _LAYOUT and _layout(body) == _VIRTUAL):
            msg = "not stored in one piece inside the file"
            raise ValueError(msg)
        if _has_index(kind, body):
            indexed = True
            if kind == _ATTRIBUTES or not may_have_index:
                msg = "names or attributes with an index, which globa-tui does not write"
                raise ValueError(msg)
        if kind == _SYMBOLS:
            _require_sound_heap(handle, _word(body, 8))
    return indexed


def _messages(handle: int, address: int) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and content of what a header says, in all its parts."""
    head = os.pread(handle, 16, address) if address < 1 << 63 else b""
    if len(head) < 16 or head[0] != 1:
        msg = "no header of HDF5's oldest form where one should be"
        raise ValueError(msg)
    parts = [(address + 16, int.from_bytes(head[8:12], "little"))]
    for count, (place, size) in enumerate(parts):  # grows while it is read
        data = os.pread(handle, size, place) if size <= _MOST_BYTES and place < 1 << 63 else b""
        if len(data) < size or count == _MOST_PARTS:
            msg = "its header does not hold together"
            raise ValueError(msg)
        for kind, flags, body in _split(data):
            if kind == _CONTINUED:
                parts.append((_word(body, 0), _word(body, 8)))
            yield kind, flags, body


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    place = 0
    while place + 8 <= len(data):
        kind, size, flags = struct.unpack_from("<HHB", data, place)
        yield kind, flags, data[place + 8 : place + 8 + size]
        place += 8 + size


def _has_index(kind: int, body: bytes) -> bool:
    """Whether names or attributes lie in a heap with trees, after a count that may stand before its address."""
    if kind not in (_LINKS, _ATTRIBUTES):
        return False
    counted = len(body) > 1 and body[1] & 1
    return _word(body, 2 + (counted and (8 if kind == _LINKS else 2))) != _UNDEFINED


def _layout(body: bytes) -> int:
    """How a dataset lies in the file; the oldest versions have that at another place, and no virtual one."""
    return body[1] if len(body) > 1 and body[0] >= 3 else 0


def _require_sound_heap(handle: int, address: int) -> None:
    """Walk through the free places between the names of a group."""
    head = os.pread(handle, 32, address) if address < 1 << 63 else b""
    size, free, data = (_word(head, place) for place in (8, 16, 24))
    if len(head) == 32 and head.startswith(b"HEAP") and data < 1 << 63 and size < 1 << 48:
        for _ in range(_MOST_FREE):
            if free == _NO_MORE:
                return
            if free + 16 > size:
                break
            free = _word(os.pread(handle, 16, data + free), 0)
    msg = "the names of a group do not hold together"
    raise ValueError(msg)


def _word(data: bytes, place: int) -> int:
    """Eight bytes as a number; what is missing is 0, which no address is."""
    return int.from_bytes(data[place : place + 8], "little")
