"""Changes to files that a stranger could make: of bytes, of JSON, of text."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

HOSTILE_TEXTS = [
    "",
    " ",
    ".",
    "..",
    "../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "~/.ssh/id_rsa",
    "a\x00b",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u2066",
    "line\nbreak\r\n",
    "[bold red]markup[/]",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\ud800",
    "x" * 5000,
    "%s%n{0}${HOME}",
]
HOSTILE_NUMBERS: list[Any] = [
    0,
    -1,
    1,
    7,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    -(2**63),
    10**400,
    0.5,
    1e308,
    -1e308,
    5e-324,
]
HOSTILE_VALUES: list[Any] = [
    *HOSTILE_TEXTS,
    *HOSTILE_NUMBERS,
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None] * 70,
    {"": ""},
    {"a": {"b": []}},
    float("nan"),
    float("inf"),
    [2**40, 2**40],
    [-1, 4],
]

_byte = st.integers(0, 255)
_place = st.floats(0, 1, exclude_max=True)
_edit = st.one_of(
    st.tuples(st.just("set"), _place, _byte),
    st.tuples(st.just("flip"), _place, st.integers(0, 7)),
    st.tuples(st.just("insert"), _place, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("delete"), _place, st.integers(1, 64)),
    st.tuples(st.just("repeat"), _place, st.integers(1, 256)),
    st.tuples(st.just("cut"), _place, st.just(0)),
    st.tuples(st.just("zero"), _place, st.integers(1, 64)),
    st.tuples(st.just("huge"), _place, st.sampled_from([4, 8])),
)


def edited(data: bytes, edits: list[tuple[str, float, Any]]) -> bytes:
    """The bytes after some edits."""
    for kind, place, value in edits:
        at = int(place * len(data))
        if kind == "set":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "flip":
            data = data[:at] + bytes([data[at] ^ (1 << value)] if data else b"") + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + value + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + value :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + value] * 2 + data[at + value :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "zero":
            data = data[:at] + bytes(value) + data[at + value :]
        else:
            data = data[:at] + b"\xff" * value + data[at + value :]
    return data


def of_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with up to four edits."""
    return st.lists(_edit, min_size=1, max_size=4).map(lambda edits: edited(data, edits))


def of_hdf5(data: bytes) -> st.SearchStrategy[bytes]:
    """An HDF5 file whose structures point elsewhere, to each other or to themselves, or with edits of its bytes."""
    words = {place: int.from_bytes(data[place : place + 8], "little") for place in range(0, len(data) - 8, 8)}
    pointers = [place for place, word in words.items() if 0 < word < len(data)]
    targets = sorted({words[place] for place in pointers} | {0, 1, 2**63, 2**64 - 1, len(data)})

    def redirected(changes: list[tuple[int, int]]) -> bytes:
        found = bytearray(data)
        for place, target in changes:
            found[place : place + 8] = target.to_bytes(8, "little")
        return bytes(found)

    some = st.lists(st.tuples(st.sampled_from(pointers), st.sampled_from(targets)), min_size=1, max_size=3)
    return some.map(redirected) | of_bytes(data)


def of_text(text: str) -> st.SearchStrategy[bytes]:
    """A text with words replaced by hostile ones, or with edits of its bytes."""
    words = text.split()

    def replaced(change: tuple[int, Any]) -> bytes:
        word, value = words[change[0] % len(words)], change[1]
        new = value if isinstance(value, str) else json.dumps(value)
        return text.replace(word, new, 1).encode("utf-8", "surrogatepass")

    hostile = st.tuples(st.integers(0, 1000), st.sampled_from(HOSTILE_VALUES))
    return hostile.map(replaced) | of_bytes(text.encode())


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from _paths(item, (*path, key))


def _changed(document: Any, change: tuple[int, str, Any]) -> Any:
    """One change somewhere in a JSON document: another value, another key, one less, one twice."""
    number, kind, value = change
    paths = list(_paths(document))
    path = paths[number % len(paths)]
    if not path:
        return value if kind == "value" and number % 7 == 0 else document
    document = copy.deepcopy(document)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    key = path[-1]
    if kind == "delete":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[value if isinstance(value, str) else str(value)[:50]] = holder.pop(key)
    elif kind == "deepen":
        for _ in range(200):
            holder[key] = [holder[key]]
    else:
        holder[key] = value
    return document


def of_json(document: Any) -> st.SearchStrategy[bytes]:
    """A JSON document with one to three changes, or with edits of its bytes."""
    kinds = st.sampled_from(["value", "value", "value", "delete", "rename", "deepen"])
    changes = st.lists(
        st.tuples(st.integers(0, 10_000), kinds, st.sampled_from(HOSTILE_VALUES)), min_size=1, max_size=3
    )

    def changed(wanted: list[tuple[int, str, Any]]) -> bytes:
        found = document
        for change in wanted:
            found = _changed(found, change)
        return json.dumps(found).encode()

    return changes.map(changed) | of_bytes(json.dumps(document).encode())


def of_safetensors(data: bytes) -> st.SearchStrategy[bytes]:
    """A safetensors file with changes in its header (its length made to fit, or not) or anywhere."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]

    def joined(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + body

    fitting: Callable[[bytes], bytes] = joined
    return of_json(header).map(fitting) | of_bytes(data) | of_bytes(body).map(lambda new: data[: 8 + length] + new)
