"""Findings in words: a short ranked list of what a run says, each with its numbers and how sure we are.

Free of torch; the terminal interface shows them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from globa_tui.findings import hidden, overlap, sources, spectrum
from globa_tui.findings.finding import FACT, SURE, Evidence, Finding, Rule

if TYPE_CHECKING:
    from store.run import Run

RULES: tuple[Rule, ...] = (
    sources.unrelated,
    sources.failed,
    sources.incomplete,
    sources.barely_differs,
    sources.frozen,
    sources.sizes,
    sources.alike,
    spectrum.nearly_rank_one,
    spectrum.lost,
    overlap.opposite_signs,
    overlap.conflict_free,
    overlap.degenerate,
    hidden.hard_to_merge,
    hidden.far_apart,
)

__all__ = ["RULES", "SURE", "Evidence", "Finding", "find", "findings_of", "findings_of_run", "ranked", "rule_by_rule"]


def find(evidence: Evidence) -> list[Finding]:
    """All findings, the weightiest first. A rule that the records break is a finding too, and stops no other."""
    return ranked(found for part in rule_by_rule(evidence) for found in part)


def rule_by_rule(evidence: Evidence) -> Iterator[list[Finding]]:
    """What each rule finds, for whoever has something else to do between two of them."""
    for rule in RULES:
        try:
            yield list(rule(evidence))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
            what = f"{type(error).__name__}: {error}"
            text = f"the rule {rule.__name__} cannot read the records of this run ({what:.100})"
            yield [Finding("unreadable", 0.0, FACT, text)]


def ranked(found: Iterable[Finding]) -> list[Finding]:
    """Findings in the order in which they are shown."""
    return sorted(found, key=lambda finding: -finding.score)


def findings_of(
    manifest: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    representation: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """All findings of a run from what the store gives."""
    return find(Evidence(manifest, records, representation))


def findings_of_run(run: Run) -> list[Finding]:
    """All findings of an opened run; half a second of processor time for 20,000 layers.

    Texts and layers hold names that strangers chose: show them with `diagnostics.printable`.

    Raises
    ------
    RunDamagedError
        Its representation cannot be read.
    """
    from store.run import read_result

    return findings_of(run.manifest, run.records(), read_result(run.path))
