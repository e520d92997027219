"""The GLOBA analysis of one weight matrix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from analysis.alignment import rank_alignment
from analysis.basis import (
    PrincipalAngles,
    SideBasis,
    anchored_basis,
    canonical_basis,
    lapack_basis,
    principal_angles,
)
from analysis.components import ComponentTable, component_table
from analysis.conflict import ConflictSums, conflict_of_matrices
from analysis.core import core_matrix
from analysis.decompose import TruncatedSVD, truncated_svd
from analysis.errors import AnalysisError, OptionsError
from analysis.merged_alignment import MergedAlignment, alignment_of_products, starting_directions, sum_alignment
from analysis.pair import PairAnalysis, signed_products, union_types
from analysis.product import Product, require_shape, truncated_svd_of_product
from analysis.prune import energy_levels, prune_in_place
from analysis.subspaces import SubspaceOverlap, subspace_overlap
from analysis.task_vector import frobenius_norm, task_vector
from analysis.what_if import ETAS, grid, what_if

BasisKind = Literal["canonical", "anchored", "lapack"]
Pairs = Literal["anchor", "all"]


@dataclass(frozen=True)
class LayerOptions:
    """How to analyse a layer: one value per task in the tuples."""

    svd_energy: tuple[float, ...]
    """Share of ``‖τ_i‖²`` that truncation may keep, in (0, 1]; higher keeps more rank."""
    eta: tuple[float, ...]
    """Share of ``‖Ĉ_i‖²`` that pruning keeps, in (0, 1]; lower leaves fewer entries."""
    basis_energy: float = 0.999
    """Share of the concatenation's ``Σσ²`` that the global basis keeps, in (0, 1]."""
    basis: BasisKind = "canonical"
    """Which orthonormal basis to take."""
    anchor: int = 0
    """Index (from 0) of the task whose matrix plays C̃_1."""
    pairs: Pairs = "anchor"
    """Which ordered pairs of tasks are compared: each task with the anchor, or all with all, at T/2 times the cost."""
    what_if: tuple[float, ...] = ETAS
    """Thresholds η whose patterns are counted besides the own ones; each one more costs a pass over every Ĉ_i."""
    dtype: torch.dtype = torch.float32
    """Working precision of everything as large as the layer; small decompositions run in float64."""

    def __post_init__(self) -> None:
        """Check ranges once; every function below relies on them."""
        for name, values in (
            ("svd_energy", self.svd_energy),
            ("eta", self.eta),
            ("basis_energy", (self.basis_energy,)),
            ("what_if", (*self.what_if, 1.0)),
        ):
            if not values or any(not 0.0 < value <= 1.0 for value in values):
                msg = f"{name} is {values}: every share lies in (0, 1]"
                raise OptionsError(msg)
        if len(self.svd_energy) != len(self.eta) or not 0 <= self.anchor < len(self.eta):
            msg = f"svd_energy {self.svd_energy}, eta {self.eta} and anchor {self.anchor} name different task counts"
            raise OptionsError(msg)


@dataclass(frozen=True)
class LayerAnalysis:
    """Everything the analysis knows of one layer.

    `pairs` compares tasks two by two: first every other one with the anchor, then those that were asked for besides.
    `unions` are the types of every task against all others together, for more than two tasks.
    `merged` looks at the sum of the task vectors. `grids` are the thresholds of every task that `pairs` look at.
    `left` and `right` are the global bases, without coordinates; `cluster_energy` is the energy of the tasks in their
    clusters. `pruned` are the C̃_i in float64.
    """

    shape: tuple[int, int]
    base_norm: float
    task_norms: tuple[float, ...]
    svds: tuple[TruncatedSVD, ...]
    left: SideBasis
    right: SideBasis
    cluster_energy: tuple[float, float]
    pruned: tuple[Float[Tensor, "rows cols"], ...]
    parts: ComponentTable
    pairs: tuple[PairAnalysis, ...]
    unions: tuple[Mapping[str, tuple[int, float]], ...]
    merged: MergedAlignment
    grids: tuple[tuple[float, ...], ...]


def analyse_layer(
    base: Shaped[Tensor, "rows cols"],
    fine_tuned: Sequence[Shaped[Tensor, "rows cols"] | Product | None],
    options: LayerOptions,
) -> LayerAnalysis:
    """Analyse one weight matrix of a base and its fine-tunes.

    Parameters
    ----------
    base
        W0, of any floating dtype.
    fine_tuned
        The same matrix of every fine-tune, in task order; a `Product` is a task vector given by factors, which is
        never multiplied out, and None is a fine-tune that leaves the matrix as it is.
    options
        Thresholds, basis and precision.

    Returns
    -------
    The analysis. A task that equals the base has rank 0 and no entries; its overlaps are 0.

    Raises
    ------
    NotFiniteError
        If a weight is NaN or infinite; the message says whose.
    DecompositionError
        If LAPACK does not converge.

    References
    ----------
    GLOBA, section 4.2.
    """
    return relate_tasks(measure_tasks(base, fine_tuned, options), options)


@dataclass(frozen=True)
class MeasuredTasks:
    """What an analysis takes from the weights themselves; after it they may go."""

    shape: tuple[int, int]
    base_norm: float
    norms: tuple[float, ...]
    svds: tuple[TruncatedSVD, ...]
    conflicts: Mapping[tuple[int, int], ConflictSums]
    merged: MergedAlignment


def measure_tasks(
    base: Shaped[Tensor, "rows cols"],
    fine_tuned: Sequence[Shaped[Tensor, "rows cols"] | Product | None],
    options: LayerOptions,
) -> MeasuredTasks:
    """Decompose the task vectors, and measure what takes their entries: the first half of `analyse_layer`."""
    svds, norms = zip(*_all_decomposed(base, fine_tuned, options), strict=True)
    return MeasuredTasks(
        shape=(base.shape[0], base.shape[1]),
        base_norm=frobenius_norm(base.to(options.dtype)),
        norms=norms,
        svds=svds,
        conflicts={
            pair: conflict_of_matrices(base, fine_tuned[pair[0]], fine_tuned[pair[1]]) for pair in _pairs(options)
        },
        merged=_merged(base, fine_tuned, svds, norms, options),
    )


@dataclass(frozen=True)
class Pruned:
    """What a merge needs of an analysis: the global bases, and the C̃_i in float64."""

    left: Float[Tensor, "rows left_rank"]
    cores: list[Float[Tensor, "left_rank right_rank"]]
    right: Float[Tensor, "cols right_rank"]


def pruned_matrices(
    base: Shaped[Tensor, "rows cols"],
    fine_tuned: list[Shaped[Tensor, "rows cols"] | Product | None],
    options: LayerOptions,
) -> Pruned:
    """Compute the part of `analyse_layer` that a merge needs, with the same numbers.

    Parameters
    ----------
    base, options
        As for `analyse_layer`.
    fine_tuned
        The same; the list is emptied once all are decomposed, and stays as it is when that fails.

    Notes
    -----
    One side at a time, so that coordinates, the largest matrices of all, exist for no longer than they are needed.
    """
    svds = [svd for svd, _ in _all_decomposed(base, fine_tuned, options)]
    fine_tuned.clear()
    values = [svd.singular_values for svd in svds]
    spaces = [svd.left for svd in svds], [svd.right for svd in svds]
    del svds
    sides: dict[int, tuple[Tensor, list[Tensor]]] = {}
    # The longer side first, whose vectors of the tasks are larger than the coordinates of the other.
    for side in sorted((0, 1), key=lambda side: base.shape[side], reverse=True):
        sides[side] = _side(spaces[side], values, options)
        spaces[side].clear()
    (left, left_parts), (right, right_parts) = sides[0], sides[1]
    del sides
    cores = []
    for sigma, eta in zip(values, options.eta, strict=True):
        core = core_matrix(left_parts.pop(0), sigma, right_parts.pop(0))
        cores.append(prune_in_place(core, eta, rounding_share(options)))
        del core
    return Pruned(left, cores, right)


def _side(
    bases: list[Float[Tensor, "dim _"]], values: list[Float[Tensor, " _"]], options: LayerOptions
) -> tuple[Float[Tensor, "dim rank"], list[Float[Tensor, "rank _"]]]:
    """The global basis of one side, and the tasks' coordinates in it."""
    found = _basis(bases, values, options, [None])
    return found.vectors, list(found.coordinates)


def rounding_share(options: LayerOptions) -> float:
    """Share of its largest entry below which an entry of Ĉ_i is rounding."""
    return 4 * torch.finfo(options.dtype).eps


def _all_decomposed(
    base: Shaped[Tensor, "rows cols"],
    fine_tuned: Sequence[Shaped[Tensor, "rows cols"] | Product | None],
    options: LayerOptions,
) -> list[tuple[TruncatedSVD, float]]:
    """Decompose every task vector; with each its norm."""
    if len(fine_tuned) != len(options.eta):
        msg = f"{len(fine_tuned)} fine-tunes, but options for {len(options.eta)}"
        raise OptionsError(msg)
    found = []
    for number, (weight, energy) in enumerate(zip(fine_tuned, options.svd_energy, strict=True), 1):
        try:
            found.append(_decomposed(weight, base, energy, options.dtype))
        except AnalysisError as error:
            error.args = (f"fine-tune {number}: {error}",)
            raise
    return found


def _pairs(options: LayerOptions) -> list[tuple[int, int]]:
    """The ordered pairs (anchor, task) to compare, those of the run's anchor first."""
    tasks = range(len(options.eta))
    found = [(options.anchor, task) for task in tasks if task != options.anchor]
    if options.pairs == "all":
        found += [(one, two) for one in tasks for two in tasks if one not in (two, options.anchor)]
    return found


def _decomposed(
    weight: Shaped[Tensor, "rows cols"] | Product | None,
    base: Shaped[Tensor, "rows cols"],
    energy: float,
    dtype: torch.dtype,
) -> tuple[TruncatedSVD, float]:
    """Decompose one task vector; its norm."""
    if isinstance(weight, Product):
        require_shape(weight, tuple(base.shape))
        svd = truncated_svd_of_product(weight, energy, dtype)
        return svd, float(svd.spectrum.square().sum().sqrt())
    if weight is None:
        return truncated_svd(torch.zeros_like(base, dtype=dtype), energy), 0.0
    delta = task_vector(weight, base, dtype)
    svd = truncated_svd(delta, energy)
    return svd, math.sqrt(svd.total_energy)


def _merged(
    base: Shaped[Tensor, "rows cols"],
    fine_tuned: Sequence[Shaped[Tensor, "rows cols"] | Product | None],
    svds: Sequence[TruncatedSVD],
    norms: Sequence[float],
    options: LayerOptions,
) -> MergedAlignment:
    """The sum of the task vectors against each of them; one task vector at a time is formed again."""
    if all(isinstance(weight, Product) for weight in fine_tuned):
        return alignment_of_products([weight for weight in fine_tuned if isinstance(weight, Product)])

    def formed(task: int) -> Tensor:
        weight = fine_tuned[task]
        if weight is None:
            return torch.zeros_like(base, dtype=options.dtype)
        if isinstance(weight, Product):
            return weight.dense(options.dtype)
        # Not `task_vector`: that everything is finite is known by now.
        return weight.to(options.dtype) - base.to(options.dtype)

    total = formed(0)
    for task in range(1, len(fine_tuned)):
        total += formed(task)
    return sum_alignment(total, formed, norms, starting_directions(svds))


def relate_tasks(measured: MeasuredTasks, options: LayerOptions) -> LayerAnalysis:
    """From measured tasks to basis, interaction matrices, types and subspace overlaps: the other half."""
    svds = measured.svds
    values = [svd.singular_values for svd in svds]
    lefts, rights = [svd.left for svd in svds], [svd.right for svd in svds]
    angles = [_angles(rights, options), _angles(lefts, options)]
    overlaps = {pair: _overlap(svds, pair, angles) for pair in measured.conflicts}
    # Taken off the lists one by one: at full rank angles and coordinates are larger than everything else together.
    left = _basis(lefts, values, options, angles)
    right = _basis(rights, values, options, angles)
    cluster_energy = left.cluster_energy(values), right.cluster_energy(values)
    left_parts, right_parts = list(left.coordinates), list(right.coordinates)
    left, right = replace(left, coordinates=()), replace(right, coordinates=())
    cores = [core_matrix(left_parts.pop(0), sigma, right_parts.pop(0)) for sigma in values]
    grids = [grid(eta, options.what_if) for eta in options.eta]
    levels = [energy_levels(core, etas, rounding_share(options)) for core, etas in zip(cores, grids, strict=True)]
    questions = {
        (one, two): what_if(cores[one], cores[two], levels[one], levels[two], grids[one], grids[two])
        for one, two in overlaps
    }
    kept = [level <= etas.index(eta) for level, etas, eta in zip(levels, grids, options.eta, strict=True)]
    del levels
    parts = component_table(cores, kept, options.anchor)
    pruned = tuple(core.masked_fill_(~mask, 0.0) for core, mask in zip(cores, kept, strict=True))
    del cores, kept
    return LayerAnalysis(
        shape=measured.shape,
        base_norm=measured.base_norm,
        task_norms=measured.norms,
        svds=svds,
        left=left,
        right=right,
        cluster_energy=cluster_energy,
        pruned=pruned,
        parts=parts,
        pairs=tuple(
            PairAnalysis(
                one,
                two,
                (options.eta[one], options.eta[two]),
                overlap,
                rank_alignment(svds[one], svds[two]),
                measured.conflicts[one, two],
                questions[one, two],
                signed_products(pruned[one], pruned[two]),
            )
            for (one, two), overlap in overlaps.items()
        ),
        unions=tuple(union_types(pruned, task) for task in range(len(pruned))) if len(pruned) > 2 else (),
        merged=measured.merged,
        grids=tuple(grids),
    )


def _angles(bases: list[Float[Tensor, "dim _"]], options: LayerOptions) -> PrincipalAngles | None:
    """The angles of two tasks, which both the canonical basis and the overlap are made of."""
    return principal_angles(bases[0], bases[1]) if len(bases) == 2 and options.basis == "canonical" else None


def _overlap(
    svds: tuple[TruncatedSVD, ...], pair: tuple[int, int], angles: Sequence[PrincipalAngles | None]
) -> SubspaceOverlap:
    one, two = pair
    right, left = [found.swapped() if found is not None and one > two else found for found in angles]
    return subspace_overlap(svds[one], svds[two], left, right)


def _basis(
    bases: list[Float[Tensor, "dim _"]],
    values: list[Float[Tensor, " _"]],
    options: LayerOptions,
    angles: list[PrincipalAngles | None],
) -> SideBasis:
    """The basis of one side, whose angles are the last of the list and leave it."""
    if options.basis == "anchored":
        return anchored_basis(bases, values, options.anchor)
    if options.basis == "lapack":
        return lapack_basis(bases, values, options.basis_energy)
    return canonical_basis(bases, values, options.basis_energy, angles.pop())
