"""What the weight metrics add to the GLOBA analysis of a layer.

At full rank the analysis takes two float64 eigendecompositions of ``9 s³`` each (s = min(m, n)) and as much again for
the global basis, beside which the metrics are small. Where ranks are low it takes two decompositions by subspace
iteration, about ``12 m n l`` each for a sketch of l = n/16 columns. The alignment index needs the 32 leading directions
of the *sum* of the task vectors, a third decomposition of the same kind. It starts from all strong directions of both,
also those that truncation left out: of exactly low ranks r they span those of the sum (``4 r m n + 80 m n``), beside
the rounding of bf16 weights it takes one more step (320 m n). ``128 m n`` more for what one of the task vectors does in
them. At n = 512 that is 340 to 450 m n beside 770 m n for the two; the ratio falls as n grows. Layers of a few dozen
rows cost calls rather than arithmetic; at 128 rows the third decomposition is an eigendecomposition beside two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

from analysis import layer
from analysis.layer import LayerAnalysis, analyse_layer
from benchmarks.layers import OPTIONS, task
from benchmarks.measure import Row, in_turn, ratio_row


def added(size: int, spectrum: str, rounds: int) -> Row:
    """Time of one layer with all weight metrics over the time with none: conflicts, angles, alignment, what-if, sum."""
    base = 0.02 * torch.randn(size, size, generator=torch.Generator().manual_seed(7))
    tuned = [base + task(size, size, spectrum, seed) for seed in (1, 2)]
    found = analyse_layer(base, tuned, OPTIONS)

    def bare() -> None:
        with without_metrics(found):
            analyse_layer(base, tuned, OPTIONS)

    whole, least, ratio = in_turn(lambda: analyse_layer(base, tuned, OPTIONS), bare, rounds)
    return ratio_row(
        f"layer with the weight metrics / without, {size}², {spectrum}", ratio, 1.3, at_least=False,
        seconds=[whole, least], directions=len(found.merged.values),
    )  # fmt: skip


@contextmanager
def without_metrics(found: LayerAnalysis) -> Iterator[None]:
    """The analysis with the results of `found` in place of every metric, and no threshold but the run's own."""
    pair = found.pairs[0]
    instead: dict[str, Any] = {
        "conflict_of_matrices": pair.conflict,
        "_merged": found.merged,
        "subspace_overlap": pair.overlap,
        "rank_alignment": pair.alignment,
        "what_if": pair.what_if,
        "signed_products": pair.inner,
    }
    with ExitStack() as stack:
        for name, result in instead.items():
            stack.enter_context(patch.object(layer, name, lambda *given, result=result, **named: result))
        stack.enter_context(patch.object(layer, "grid", lambda own, others: (own,)))
        yield
