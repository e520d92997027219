"""JSON from strangers: one object, of reasonable depth, without duplicate keys where that matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn, cast

from store.checkpoints.files import read_small
from store.checkpoints.text import shown
from store.errors import CheckpointError


def parse_object(raw: bytes, where: Path, what: str, *, strict: bool = True) -> dict[str, object]:
    """Parse one JSON object.

    Parameters
    ----------
    raw : bytes
        UTF-8 text.
    where : Path
        The file, for the message.
    what : str
        The part of the file, for the message: ``"header"``, ``"index"``, …
    strict : bool
        Refuse duplicate keys, ``NaN`` and ``Infinity``. Model configs are allowed both.

    Raises
    ------
    CheckpointError
        When it is anything else than one object that Python can hold.
    """
    try:
        if strict:
            value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        else:
            value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _broken(where, what, f"is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise _broken(where, what, "is nested too deeply") from error
    except ValueError as error:
        raise _broken(where, what, f"is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise _broken(where, what, f"is a JSON {type(value).__name__}, not an object")
    return cast("dict[str, object]", value)


def read_object(path: Path, what: str, limit: int, *, strict: bool = True) -> dict[str, object]:
    """Read a JSON file of at most ``limit`` bytes that holds one object."""
    return parse_object(read_small(path, limit), path, what, strict=strict)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        message = f"the key {twice!r} occurs twice"
        raise ValueError(message)
    return found


def _no_constant(text: str) -> NoReturn:
    message = f"{text} is not JSON"
    raise ValueError(message)


def _broken(where: Path, what: str, why: str) -> CheckpointError:
    return CheckpointError(f"{shown(where)}: its {what} {shown(why)}; the file is damaged, fetch it again")
