"""A claim of a paper, and what became of it here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["confirmed", "not confirmed", "not testable at this size"]
MOST = 0.75
"""A claim about pairs is confirmed when it holds in at least so much of them."""


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what was measured."""

    source: str
    says: str
    verdict: Verdict
    found: str
    table: str = ""


def verdict(holds: bool) -> Verdict:
    """The verdict on a claim that was tested."""
    return "confirmed" if holds else "not confirmed"


def in_most(outcomes: Sequence[bool]) -> bool:
    """Whether something holds in at least three quarters of the cases."""
    return bool(outcomes) and sum(outcomes) >= MOST * len(outcomes)


def count(outcomes: Sequence[bool]) -> str:
    """``12 of 33``."""
    return f"{sum(outcomes)} of {len(outcomes)}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown; the first column is words."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def percent(value: float, digits: int = 1) -> str:
    """A share as per cent, with its sign."""
    return f"{100 * value:+.{digits}f} %".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value as the papers print it."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}".replace("-", "−")
