"""One layer: against the authors' procedure, against the floor, with factors, and how it scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from analysis.layer import LayerAnalysis, LayerOptions, analyse_layer
from analysis.product import Product
from benchmarks import authors
from benchmarks.measure import Row, in_turn, ratio_row

OPTIONS = LayerOptions((0.90, 0.99), (0.95, 0.80))
BROAD = "every rank (Gaussian)"
DECAYING = "σ_j = j^-0.7"
NARROW = "rank n/16"
ADAPTER = "rank 16 in bf16 weights"


def task(rows: int, cols: int, spectrum: str, seed: int) -> Tensor:
    """A task vector in float32 with one of the spectra above."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    side = min(rows, cols)
    if spectrum == BROAD:
        return 0.01 * normal(rows, cols)
    if spectrum == DECAYING:
        left, right = torch.linalg.qr(normal(rows, side))[0], torch.linalg.qr(normal(cols, side))[0]
        values = torch.arange(1, side + 1, dtype=torch.float32) ** -0.7
        delta: Tensor = (left * values) @ right.mT
        return delta
    if spectrum == NARROW:
        return normal(rows, side // 16) @ normal(side // 16, cols) / side
    weight = 0.02 * normal(rows, cols)
    adapter = 3e-4 * normal(rows, 16) @ normal(16, cols)
    return (weight.bfloat16().float() + adapter).bfloat16().float() - weight.bfloat16().float()


def against_authors(size: int, spectrum: str, rounds: int) -> Row:
    """Speed of one layer against the published procedure."""
    pair = task(size, size, spectrum, 1), task(size, size, spectrum, 2)
    base = torch.zeros(size, size)
    kept: list[LayerAnalysis] = []

    def ours() -> None:
        kept[:] = [analyse_layer(base, pair, OPTIONS)]

    theirs_seconds, ours_seconds, ratio = in_turn(lambda: authors.analyse(pair), ours, rounds)
    ranks = [svd.rank for svd in kept[0].svds]
    goal = 10.0 if max(ranks) < size / 4 else 5.0
    return ratio_row(
        f"authors' procedure / ours, {size}², {spectrum}", ratio, goal, at_least=True,
        seconds=[theirs_seconds, ours_seconds], ranks=ranks, methods=[svd.method for svd in kept[0].svds],
    )  # fmt: skip


def floor(pair: tuple[Tensor, Tensor], found: LayerAnalysis) -> Callable[[], None]:
    """The least that a full decomposition takes: an eigendecomposition per task vector, and the GEMMs.

    Gram matrix, the other side's vectors, the product of the singular vectors, the basis, the interaction matrices.
    """
    bases = [(found.svds[0].left, found.svds[1].left), (found.svds[0].right, found.svds[1].right)]
    ranks = [svd.rank for svd in found.svds]
    coordinates = [
        [torch.randn(side.rank, rank, dtype=torch.float64) for rank in ranks] for side in (found.left, found.right)
    ]

    def run() -> None:
        for tau, rank in zip(pair, ranks, strict=True):
            wide = tau.double()
            _, vectors = torch.linalg.eigh(wide.mT @ wide)
            wide @ vectors[:, :rank]
        for spaces, parts in zip(bases, coordinates, strict=True):
            spaces[0].double().mT @ spaces[1].double()
            for space, part in zip(spaces, parts, strict=True):
                space.double() @ part.mT
        for left, right in zip(*coordinates, strict=True):
            left @ right.mT

    return run


def against_floor(size: int, spectrum: str, rounds: int) -> Row:
    """Time of one layer in units of the floor."""
    pair = task(size, size, spectrum, 1), task(size, size, spectrum, 2)
    base = torch.zeros(size, size)
    found = analyse_layer(base, pair, OPTIONS)
    ours, least, ratio = in_turn(lambda: analyse_layer(base, pair, OPTIONS), floor(pair, found), rounds)
    return ratio_row(f"ours / floor, {size}², {spectrum}", ratio, 1.5, at_least=False, seconds=[ours, least])


def factors(size: int, rounds: int) -> Row:
    """Adapters of rank 16 as factors against the same task vectors multiplied out."""
    generator = torch.Generator().manual_seed(3)
    pairs = [
        Product(torch.randn(size, 16, generator=generator), torch.randn(16, size, generator=generator))
        for _ in range(2)
    ]
    base = torch.zeros(size, size)
    dense = [product.dense(torch.float32) for product in pairs]
    slow, fast, ratio = in_turn(
        lambda: authors.analyse((dense[0], dense[1])), lambda: analyse_layer(base, pairs, OPTIONS), 1
    )
    ours, _, inner = in_turn(
        lambda: analyse_layer(base, dense, OPTIONS), lambda: analyse_layer(base, pairs, OPTIONS), rounds
    )
    return ratio_row(
        f"authors' procedure / ours with LoRA factors, {size}², rank 16", ratio, 100.0, at_least=True,
        seconds=[slow, fast], our_dense_seconds=ours, our_dense_ratio=inner,
    )  # fmt: skip


def scaling(rounds: int) -> Iterator[Row]:
    """Doubling the output side at a fixed input side, and the rank of narrow task vectors."""
    base = [torch.zeros(rows, 768) for rows in (768, 1536, 3072)]
    pairs = [[task(weight.shape[0], 768, BROAD, seed) for seed in (1, 2)] for weight in base]
    for small, large in ((0, 1), (1, 2)):
        _, _, ratio = in_turn(
            partial(analyse_layer, base[large], pairs[large], OPTIONS),
            partial(analyse_layer, base[small], pairs[small], OPTIONS),
            rounds,
        )
        what = f"{base[large].shape[0]}×768 / {base[small].shape[0]}×768"
        yield Row(what, ratio, "×", "", None, {})
    generator = torch.Generator().manual_seed(5)
    narrow = {
        rank: [
            torch.randn(1024, rank, generator=generator) @ torch.randn(rank, 1024, generator=generator) / 1024
            for _ in range(2)
        ]
        for rank in (16, 64, 256)
    }
    zero = torch.zeros(1024, 1024)
    for small, large in ((16, 64), (64, 256)):
        _, _, ratio = in_turn(
            partial(analyse_layer, zero, narrow[large], OPTIONS),
            partial(analyse_layer, zero, narrow[small], OPTIONS),
            rounds,
        )
        yield Row(f"rank {large} / rank {small}, 1024²", ratio, "×", "", None, {})
