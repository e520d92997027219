"""The GLOBA analysis of one weight matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from analysis.alignment import RankAlignment, rank_alignment
from analysis.basis import (
    PrincipalAngles,
    SideBasis,
    anchored_basis,
    canonical_basis,
    lapack_basis,
    principal_angles,
)
from analysis.components import ComponentTable, component_table
from analysis.conflict import ConflictSums, conflict_sums
from analysis.core import core_matrix
from analysis.decompose import TruncatedSVD, truncated_svd
from analysis.errors import AnalysisError, OptionsError
from analysis.product import Product, require_shape, truncated_svd_of_product
from analysis.prune import prune_to_energy
from analysis.subspaces import SubspaceOverlap, subspace_overlap
from analysis.task_vector import frobenius_norm, task_vector

BasisKind = Literal["canonical", "anchored", "lapack"]


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
    dtype: torch.dtype = torch.float32
    """Working precision of everything as large as the layer; small decompositions run in float64."""

    def __post_init__(self) -> None:
        """Check ranges once; every function below relies on them."""
        for name, values in (
            ("svd_energy", self.svd_energy),
            ("eta", self.eta),
            ("basis_energy", (self.basis_energy,)),
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

    `overlaps[i]`, `alignments[i]` and `conflicts[i]` compare task i with the anchor (None for the anchor itself; a
    conflict also where a task vector is given by factors, whose entries are never formed). `pruned` are the C̃_i in
    float64.
    """

    shape: tuple[int, int]
    base_norm: float
    task_norms: tuple[float, ...]
    svds: tuple[TruncatedSVD, ...]
    left: SideBasis
    right: SideBasis
    pruned: tuple[Float[Tensor, "rows cols"], ...]
    parts: ComponentTable
    overlaps: tuple[SubspaceOverlap | None, ...]
    alignments: tuple[RankAlignment | None, ...]
    conflicts: tuple[ConflictSums | None, ...]


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
    if len(fine_tuned) != len(options.eta):
        msg = f"{len(fine_tuned)} fine-tunes, but options for {len(options.eta)}"
        raise OptionsError(msg)
    svds = []
    norms = []
    for number, (weight, energy) in enumerate(zip(fine_tuned, options.svd_energy, strict=True), 1):
        try:
            svd, norm = _decomposed(weight, base, energy, options.dtype)
        except AnalysisError as error:
            error.args = (f"fine-tune {number}: {error}",)
            raise
        svds.append(svd)
        norms.append(norm)
    conflicts = tuple(_conflict(base, fine_tuned, task, options.anchor) for task in range(len(fine_tuned)))
    return _relate(base, tuple(norms), tuple(svds), conflicts, options)


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
    return truncated_svd(delta, energy), frobenius_norm(delta)


def _conflict(
    base: Shaped[Tensor, "rows cols"],
    fine_tuned: Sequence[Shaped[Tensor, "rows cols"] | Product | None],
    task: int,
    anchor: int,
) -> ConflictSums | None:
    first, second = fine_tuned[anchor], fine_tuned[task]
    if task == anchor or isinstance(first, Product) or isinstance(second, Product):
        return None
    return conflict_sums(base, base if first is None else first, base if second is None else second)


def _relate(
    base: Shaped[Tensor, "rows cols"],
    norms: tuple[float, ...],
    svds: tuple[TruncatedSVD, ...],
    conflicts: tuple[ConflictSums | None, ...],
    options: LayerOptions,
) -> LayerAnalysis:
    """From decomposed task vectors to basis, interaction matrices, types and subspace overlaps."""
    values = [svd.singular_values for svd in svds]
    lefts, rights = [svd.left for svd in svds], [svd.right for svd in svds]
    angles = [_angles(rights, options), _angles(lefts, options)]
    overlaps = tuple(
        None if task == options.anchor else _overlap(svds, task, options.anchor, angles) for task in range(len(svds))
    )
    # Taken off the list, so that the angles of a side are freed with its basis.
    left = _basis(lefts, values, options, angles.pop())
    right = _basis(rights, values, options, angles.pop())
    cores = [core_matrix(left, right, sigma, task) for task, sigma in enumerate(values)]
    rounding = 4 * torch.finfo(options.dtype).eps
    pruned = tuple(prune_to_energy(core, eta, rounding) for core, eta in zip(cores, options.eta, strict=True))
    return LayerAnalysis(
        shape=(base.shape[0], base.shape[1]),
        base_norm=frobenius_norm(base.to(options.dtype)),
        task_norms=norms,
        svds=svds,
        left=left,
        right=right,
        pruned=pruned,
        parts=component_table(cores, pruned, options.anchor),
        overlaps=overlaps,
        alignments=tuple(
            None if task == options.anchor else rank_alignment(svds[options.anchor], svd)
            for task, svd in enumerate(svds)
        ),
        conflicts=conflicts,
    )


def _angles(bases: list[Float[Tensor, "dim _"]], options: LayerOptions) -> PrincipalAngles | None:
    """The angles of two tasks, which both the canonical basis and the overlap are made of."""
    return principal_angles(bases[0], bases[1]) if len(bases) == 2 and options.basis == "canonical" else None


def _overlap(
    svds: tuple[TruncatedSVD, ...],
    task: int,
    anchor: int,
    angles: Sequence[PrincipalAngles | None],
) -> SubspaceOverlap:
    right, left = [found.swapped() if found is not None and anchor > task else found for found in angles]
    return subspace_overlap(svds[anchor], svds[task], left, right)


def _basis(
    bases: list[Float[Tensor, "dim _"]],
    values: list[Float[Tensor, " _"]],
    options: LayerOptions,
    angles: PrincipalAngles | None,
) -> SideBasis:
    if options.basis == "anchored":
        return anchored_basis(bases, values, options.anchor)
    if options.basis == "lapack":
        return lapack_basis(bases, values, options.basis_energy)
    return canonical_basis(bases, values, options.basis_energy, angles)
