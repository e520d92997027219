"""Whether what a file holds is of the kinds that a dataclass says: files in runs may come from strangers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_LARGEST_INT = 1 << 63


def require_kinds(kind: type, values: Mapping[str, Any]) -> None:
    """Refuse values of JSON that are no fields of a dataclass, or of another kind.

    A field that is a dataclass itself is not looked into.

    Raises
    ------
    ValueError
        Naming the first one.
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        known = name in hints
        if not known or not (dataclasses.is_dataclass(hints[name]) or _fits(value, hints[name])):
            msg = f"{name} is {value!r:.80}" if known else f"unknown {name!r:.80}"
            raise ValueError(msg)


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, dict) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if hint is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]
    if hint is int:
        return type(value) is int and abs(value) < _LARGEST_INT
    return type(value) is (str if hint is Path else hint)
