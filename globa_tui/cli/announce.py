"""What is said before an analysis starts: what fits, what does not, how much disk it can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from globa_tui.diagnostics import say

if TYPE_CHECKING:
    from globa_tui.jobs.settings import AnalysisRequest
    from store.checkpoints import Finding, Index

MOST_FINDINGS = 12


def announce(request: AnalysisRequest, *, quiet: bool = False) -> None:
    """Say what will be analysed, unless it should be quiet; checkpoints that do not fit are an error.

    Raises
    ------
    MismatchError
        When tensors of the checkpoints cannot be paired.
    """
    from globa_tui.jobs.sources import open_index

    vocab = request.settings.vocab
    index = open_index(request.base, request.fine_tuned, download=request.download, vocab=vocab)
    if not quiet or index.errors:
        say_findings(index.findings)
    index.require_mergeable()
    if not quiet:
        _say_sizes(index, request)


def say_findings(findings: Sequence[Finding]) -> None:
    """One line for each finding, the worst first, and a count of what is left out."""
    order = ("error", "warning", "info")
    ranked = sorted(findings, key=lambda finding: order.index(finding.severity))
    for finding in ranked[:MOST_FINDINGS]:
        say(f"{finding.severity}: {finding.message}")
    if len(ranked) > MOST_FINDINGS:
        say(f"{len(ranked) - MOST_FINDINGS} more findings; the run keeps them all")


def _say_sizes(index: Index, request: AnalysisRequest) -> None:
    from globa_tui.estimate import analysed, most_factor_bytes
    from globa_tui.values import about_size
    from store.files import free_bytes

    layers = analysed(map(asdict, index.layers), request.settings)
    line = f"{len(layers)} of {len(index.layers)} tensors will be analysed"
    if not request.settings.factors:
        say(f"{line}; factors are not kept, so a merge will decompose again")
        return
    most = most_factor_bytes(layers, request.settings.for_tasks(len(request.fine_tuned)))
    free = free_bytes(request.store)
    say(f"{line}; factors take at most {about_size(most)}, {about_size(free)} are free in {request.store.parent}")
