"""GLOBA merging of a tall matrix from passes over its rows: nothing as tall is held but the result."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.basis import canonical_basis
from analysis.basis.angles import Distances, angles_of
from analysis.basis.canonical import (
    Coordinates,
    canonical_coordinates,
    concatenation_gram,
    gram_coordinates,
    two_task_coordinates,
)
from analysis.core import core_matrix
from analysis.decompose import right_vectors
from analysis.gram import add_rows, empty_gram, product
from analysis.layer import LayerOptions, rounding_share
from analysis.merge.globa import weigh_in_place
from analysis.prune import prune_in_place

TALL = 4
"""A matrix with this many times as many rows as columns is merged by rows; of flatter ones the smaller side is large
too, so that little is saved."""

Pass = Callable[[], Iterable[Sequence[Float[Tensor, "some cols"]]]]
"""Goes over the task vectors from the first row to the last: some rows of all of them at a time, in one dtype."""


@dataclass(frozen=True)
class _Task:
    """Σ and V of the truncated task vector, in float64; U is ``τ V Σ⁻¹`` and never formed."""

    values: Float[Tensor, " rank"]
    right: Float[Tensor, "cols rank"]

    def undo(self, mixed: Float[Tensor, "rank some"]) -> Float[Tensor, "cols some"]:
        """The X with ``τ X = U B``."""
        return self.right @ (mixed / self.values[:, None])


def applies(shape: Sequence[int], options: LayerOptions) -> bool:
    """Whether a matrix is merged by rows: a tall one, in the canonical basis and in float32."""
    return shape[0] >= TALL * shape[1] > 0 and options.basis == "canonical" and options.dtype == torch.float32


def mixtures(
    once: Pass, rows: int, options: LayerOptions, coefficients: Mapping[str, float]
) -> list[Float[Tensor, "cols cols"]] | None:
    """Compute the M_i of ``τ_merged = Σ_i τ_i M_i``.

    GLOBA needs of the left side only inner products, ``U_iᵀU_j = Σ_i⁻¹ V_iᵀ (τ_iᵀτ_j) V_j Σ_j⁻¹``, and the merged delta
    ``U_g C̃ V_gᵀ`` with ``U_g = Σ_i U_i C_iᵀ Λ⁻¹`` and ``U_i = τ_i V_i Σ_i⁻¹`` is a mixture of the columns of the task
    vectors. So two passes over the rows, one for the ``τ_iᵀτ_j`` and one for the result, take the place of bases as
    tall as the matrix; spaces that nearly share directions take one more.

    Parameters
    ----------
    once
        Goes over the task vectors; called twice at most.
    rows
        Number of their rows.
    options
        The canonical basis, whatever is asked for; `dtype` says what counts as rounding. V_g and what is kept of the
        C̃_i are rounded to it, everything is computed in float64.
    coefficients
        One number per pattern.

    Returns
    -------
    One matrix in float64 for each task; None where squaring loses what is wanted, or the task vectors are not finite.

    Notes
    -----
    ``m n² T²`` for the products; memory O(T² n²) besides the rows in hand. Types and result are those of
    `analyse_layer` up to rounding, for nothing here depends on the signs of the basis.

    References
    ----------
    GLOBA, equations 10–21. The passes are ours.
    """
    grams = _grams(once, len(options.eta))
    tasks = _decomposed(grams, rows, options)
    if tasks is None:
        return None
    values = [task.values for task in tasks]
    right = canonical_basis([task.right.to(options.dtype) for task in tasks], values, options.basis_energy)
    parts, vectors = list(right.coordinates), right.vectors
    del right
    left = _left(tasks, grams, rows, once, options)
    cores = []
    for coordinates, sigma, eta in zip(left.parts, values, options.eta, strict=True):
        core = core_matrix(coordinates, sigma, parts.pop(0))
        # Rounded once more: what the types are known from is as large as all the rest.
        cores.append(prune_in_place(core, eta, rounding_share(options)).to(options.dtype))
        del core
    merged = weigh_in_place(cores, options.anchor, coefficients)
    cores.clear()
    merged.div_(left.strengths.square()[:, None].to(merged.dtype))
    mixed = []
    while tasks:
        # With V, as large as the matrix that comes of it, one task after the other goes.
        widened = product(vectors, product(merged.mT, left.parts.pop(0)).double())
        mixed.append(tasks.pop(0).undo(widened.mT))
        del widened
    return mixed


def _decomposed(grams: dict[tuple[int, int], Tensor], rows: int, options: LayerOptions) -> list[_Task] | None:
    """Σ and V of every task, whose products with itself leave `grams`."""
    tasks = []
    for number, energy in enumerate(options.svd_energy):
        gram = grams.pop((number, number))
        if not bool(gram.diagonal().isfinite().all()):
            return None
        found = right_vectors(gram, energy, rows, options.dtype)
        del gram
        if found is None:
            return None
        spectrum, right = found
        tasks.append(_Task(spectrum[: right.shape[1]].clone(), right))
        del found, right
    return tasks


def _grams(once: Pass, tasks: int) -> dict[tuple[int, int], Float[Tensor, "cols cols"]]:
    """``τ_iᵀτ_j`` of all i ≤ j, in float64; of one task with itself the blocks at the lower triangle."""
    pairs = list(itertools.combinations_with_replacement(range(tasks), 2))
    grams: dict[tuple[int, int], Tensor] = {}
    for deltas in once():
        wide = [delta.double() for delta in deltas]
        if not grams:
            grams = {pair: empty_gram(wide[0]) for pair in pairs}
        for (one, two), gram in grams.items():
            if one == two:
                add_rows(gram, wide[one])
            else:
                gram.addmm_(wide[one].mT, wide[two])
    return grams


def _left(
    tasks: Sequence[_Task], grams: dict[tuple[int, int], Tensor], rows: int, once: Pass, options: LayerOptions
) -> Coordinates:
    """The tasks in the canonical basis of the left side; takes the products of two tasks out of `grams`."""
    crosses = {}
    for one, two in list(grams):
        between = tasks[one].right.mT @ grams.pop((one, two)) @ tasks[two].right
        crosses[one, two] = between.div_(tasks[one].values[:, None]).div_(tasks[two].values)
    if len(tasks) == 2:
        found = two_task_coordinates([angles_of(crosses.pop((0, 1)), rows, _distances(tasks, once))])
    else:
        ranks = [task.values.shape[0] for task in tasks]
        gram = concatenation_gram(ranks, crosses, tasks[0].right)
        crosses.clear()
        found = gram_coordinates(gram, ranks, options.dtype)
    return canonical_coordinates(*found, [task.values for task in tasks], options.basis_energy, options.dtype)


def _distances(tasks: Sequence[_Task], once: Pass) -> Distances:
    """By one more pass: ``U_1 A − U_2 B = τ_1 X − τ_2 Y``."""

    def distances(of_first: Tensor, of_second: Tensor) -> Tensor:
        first, second = tasks[0].undo(of_first), tasks[1].undo(of_second)
        square = first.new_zeros(first.shape[1])
        for one, two in once():
            square += (one.double() @ first - two.double() @ second).square().sum(dim=0)
        return square

    return distances
