"""Coefficients of the overlap patterns, for the whole model and for parts of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from globa_tui.diagnostics import UsageError

PATTERNS: tuple[str, ...] = ("C1", "A", "B", "C", "D+", "D-", "E")
"""The first task's matrix C̃_1, and the six types of C̃_2's entries (appendix eq. 25-33)."""

GROUPS: Mapping[str, frozenset[str]] = {
    "attn": frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "qkv"}),
    "mlp": frozenset({"gate_proj", "up_proj", "down_proj", "gate_up_proj"}),
    "embeddings": frozenset({"embed", "lm_head"}),
}
"""Words that stand for several kinds of layer."""

_GROUP_ALIASES = {"attention": "attn", "embedding": "embeddings"}
Scope = Literal["model", "group", "kind", "blocks", "layer"]
_NEARNESS: tuple[Scope, ...] = ("model", "group", "kind", "blocks", "layer")


class RecipeError(UsageError):
    """A coefficient, target or recipe cannot be read; the message names the word and what is allowed."""


class Coefficients(Mapping[str, float]):
    """Immutable mapping from pattern to a finite coefficient, in the order of `PATTERNS`; may leave patterns out."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, float] | None = None) -> None:
        read = {pattern_name(name): _finite(name, value) for name, value in (values or {}).items()}
        self._values = {name: read[name] for name in PATTERNS if name in read}

    def __getitem__(self, pattern: str) -> float:
        return self._values[pattern]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return f"Coefficients({self})"

    def __str__(self) -> str:
        return ",".join(f"{name}={number(value)}" for name, value in self._values.items())

    def updated(self, values: Mapping[str, float | None]) -> Coefficients:
        """These coefficients with others set; None leaves a pattern out again."""
        merged: dict[str, float | None] = {**self._values, **{pattern_name(k): v for k, v in values.items()}}
        return Coefficients({name: value for name, value in merged.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Target:
    """The part of a model that coefficients are for.

    ``model``, a group such as ``mlp``, a kind such as ``q_proj``, ``blocks 0-7`` (both ends included),
    or ``layer NAME``.
    """

    scope: Scope = "model"
    name: str = ""
    first: int = 0
    last: int = 0

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read what ``str`` of a target writes."""
        words = text.strip()
        if words in ("", "model"):
            return cls()
        if blocks := re.fullmatch(r"blocks?\s+(\d{1,9})(?:\s*-\s*(\d{1,9}))?", words):
            first, last = int(blocks[1]), int(blocks[2] or blocks[1])
            if first > last:
                msg = f"blocks {first}-{last}: the first block comes after the last"
                raise RecipeError(msg)
            return cls("blocks", first=first, last=last)
        if text.startswith("layer ") and len(text) > len("layer "):
            return cls("layer", text.removeprefix("layer "))
        group = _GROUP_ALIASES.get(words, words)
        if group in GROUPS:
            return cls("group", group)
        if re.fullmatch(r"[\w.+-]+", words) and words not in ("block", "blocks", "layer"):
            return cls("kind", words)
        msg = f"cannot read the target {words!r}; write mlp, attn, a kind such as q_proj, 'blocks 0-7' or 'layer NAME'"
        raise RecipeError(msg)

    def __str__(self) -> str:
        if self.scope == "blocks":
            return f"blocks {self.first}" if self.first == self.last else f"blocks {self.first}-{self.last}"
        return {"model": "model", "layer": f"layer {self.name}"}.get(self.scope, self.name)

    def matches(self, layer: Mapping[str, Any]) -> bool:
        """Whether a layer (its ``name``, ``kind`` and ``block``) belongs to this target."""
        if self.scope == "layer":
            return bool(layer["name"] == self.name)
        if self.scope == "blocks":
            block = layer.get("block")
            return block is not None and self.first <= block <= self.last
        if self.scope == "model":
            return True
        kind = layer.get("kind")
        return kind == self.name or (self.scope == "group" and kind in GROUPS[self.name])

    def nearness(self) -> tuple[int, int]:
        """Sort key: what is nearer to one layer sorts later, a smaller range of blocks after a larger one."""
        return _NEARNESS.index(self.scope), self.first - self.last


@dataclass(frozen=True, slots=True)
class Override:
    """Coefficients for one target."""

    target: Target
    values: Coefficients

    def __str__(self) -> str:
        return str(self.values) if self.target.scope == "model" else f"{self.target}:{self.values}"


def parse_coef(text: str) -> Override:
    """Read ``A=1,B=0.5``, or the same after ``mlp:``, ``q_proj:``, ``blocks 0-7:`` or ``layer NAME:``."""
    where, _, assignments = text.rpartition(":")
    values: dict[str, float] = {}
    for assignment in assignments.split(","):
        name, sign, value = assignment.partition("=")
        if not sign:
            msg = f"--coef {text!r}: {assignment.strip()!r} is not PATTERN=NUMBER, such as D-=0.5"
            raise RecipeError(msg)
        pattern = pattern_name(name)
        if pattern in values:
            msg = f"--coef {text!r}: {pattern} is given twice"
            raise RecipeError(msg)
        values[pattern] = _finite(pattern, value)
    return Override(Target.parse(where), Coefficients(values))


def pattern_name(text: str) -> str:
    """The pattern that a word means: any case, and the papers' minus signs."""
    name = str(text).strip().translate({ord("−"): "-", ord("⁻"): "-", ord("⁺"): "+"}).upper()
    if name not in PATTERNS:
        msg = f"unknown pattern {str(text).strip()!r}; the patterns are {', '.join(PATTERNS)}"
        raise RecipeError(msg)
    return name


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _finite(name: str, value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        result = float(value)
        if not math.isfinite(result):
            raise ValueError
    except (ValueError, OverflowError):
        msg = f"the coefficient of {name} is {value!r:.80}; it must be a finite number"
        raise RecipeError(msg) from None
    return result
