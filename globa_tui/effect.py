"""What a choice of coefficients does to the merged update, from the scalars that the analysis stored.

A merge adds `M = Σ_p c_p M_p` to the base weight, one coefficient per pattern. With the inner products between the
patterns (`gram`) and of each pattern with each task vector (`cross`) known for every layer,

    ‖M‖² = cᵀ G c,    ⟨M, τ_t⟩ = cᵀ X_t,

so the norm of the update and its cosine to every fine-tune cost a few multiplications per layer: no tensor is read.
Energy that pruning removed and tensors that were not analysed are not in these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from globa_tui.coefficients import PATTERNS

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """Estimate for one choice of coefficients over the layers that are analysed."""

    layers: int
    """How many layers the estimate covers."""
    update_norm: float
    """‖M‖ relative to ‖τ_1‖; 1 means that the merge moves the base as far as the first fine-tune did."""
    kept: tuple[float, float]
    """Energy in the merge from the first fine-tune and from the others, relative to all the energy these have."""
    cosine: tuple[float, ...]
    """Cosine between the update and each task vector, in the order of the fine-tunes; nan when either is zero."""


class EffectTable:
    """The stored scalars of every layer as stacked arrays, filled as layers finish.

    Parameters
    ----------
    layers : int
        Number of layers of the run, analysed or not.
    tasks : int
        Number of fine-tunes.
    """

    def __init__(self, layers: int, tasks: int) -> None:
        size = len(PATTERNS)
        self.known: NDArray[np.bool_] = np.zeros(layers, dtype=np.bool_)
        self._gram: Floats = np.zeros((layers, size, size))
        self._cross: Floats = np.zeros((layers, size, tasks))
        self._energy: Floats = np.zeros((layers, tasks))

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]], tasks: int) -> EffectTable:
        """Build a table from all records of a run."""
        table = cls(len(records), tasks)
        for index, record in enumerate(records):
            table.put(index, record)
        return table

    @property
    def layers(self) -> int:
        """Number of layers whose scalars are known."""
        return int(self.known.sum())

    def put(self, index: int, record: Mapping[str, Any]) -> bool:
        """Take over the `effect` of one record; a record without a whole and finite one clears the layer.

        Returns
        -------
        bool
            Whether the layer counts in estimates from now on.
        """
        self.known[index] = False
        effect = record.get("effect")
        if not effect or record.get("status") != "done":
            return False
        places = [PATTERNS.index(label) for label in effect["labels"] if label in PATTERNS]
        gram, cross = np.asarray(effect["gram"], dtype=float), np.asarray(effect["cross"], dtype=float)
        energy = np.asarray(effect["task_energy"], dtype=float)
        labels, tasks = len(effect["labels"]), self._energy.shape[1]
        if len(places) != labels or (gram.shape, cross.shape, energy.shape) != (
            (labels, labels),
            (labels, tasks),
            (tasks,),
        ):
            return False
        if not (np.isfinite(gram).all() and np.isfinite(cross).all() and np.isfinite(energy).all()):
            return False
        self._gram[index] = 0.0
        self._cross[index] = 0.0
        self._gram[index][np.ix_(places, places)] = gram
        self._cross[index][places] = cross
        self._energy[index] = energy
        self.known[index] = True
        return True

    def estimate(self, coefficients: Floats, only: Sequence[int] | None = None) -> Effect:
        """Estimate the effect of coefficients on all known layers, or on those listed in `only`.

        Parameters
        ----------
        coefficients : array of shape (7,) or (layers, 7)
            One coefficient per pattern, in the order of `PATTERNS`; two-dimensional where layers differ.
        only : sequence of int, optional
            Layer indexes to restrict the estimate to.
        """
        rows = np.flatnonzero(self.known)
        if only is not None:
            rows = rows[np.isin(rows, np.asarray(list(only), dtype=int))]
        choice = np.broadcast_to(np.asarray(coefficients, dtype=float), (len(self.known), len(PATTERNS)))[rows]
        gram, cross, energy = self._gram[rows], self._cross[rows], self._energy[rows].sum(axis=0)
        product = np.einsum("lp,lpq->lq", choice, gram)
        total = max(float((product * choice).sum()), 0.0)
        first = float((choice[:, 0] ** 2 * gram[:, 0, 0]).sum())
        others = float(np.einsum("lp,lpq,lq->", choice[:, 1:], gram[:, 1:, 1:], choice[:, 1:]))
        along = np.einsum("lp,lpt->t", choice, cross)
        return Effect(
            layers=len(rows),
            update_norm=_ratio(total, float(energy[0])) ** 0.5,
            kept=(_ratio(first, float(energy[0])), _ratio(max(others, 0.0), float(energy[1:].sum()))),
            cosine=tuple(
                _ratio(float(inner), float(np.sqrt(total * size))) for inner, size in zip(along, energy, strict=True)
            ),
        )


def as_array(coefficients: Mapping[str, float]) -> Floats:
    """Coefficients by name as an array in the order of `PATTERNS`."""
    return np.array([float(coefficients[pattern]) for pattern in PATTERNS])


def pattern_energy(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, float]]:
    """Sum the count and the energy of every pattern over the finished records."""
    totals: dict[str, tuple[int, float]] = dict.fromkeys(PATTERNS, (0, 0.0))
    for record in records:
        for pattern, cell in (record.get("patterns") or {}).items():
            if pattern in totals:
                count, energy = totals[pattern]
                totals[pattern] = (count + int(cell["count"]), energy + float(cell["energy"]))
    return totals


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else float("nan")
