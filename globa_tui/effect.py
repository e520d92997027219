"""What a choice of coefficients does to the merged update, from the scalars that the analysis stored.

A merge adds `M = Σ_k c_k M_k` to the base weight: one part for the first fine-tune (C1) and one for each pattern of
each other fine-tune, with one coefficient per pattern. With the inner products between the parts (`gram`) and of each
part with each truncated task vector (`cross`) known for every layer,

    ‖M‖² = cᵀ G c,    ⟨M, τ_t⟩ = cᵀ X_t,

so the norm of the update and its cosine to every fine-tune cost a few multiplications per layer: no tensor is read.
Norms and cosines are relative to the whole task vectors where the record has their norms; the inner product with what
truncation removed is taken as 0, which it is for the parts of the same fine-tune. Tensors that were not analysed are
not in these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from globa_tui.coefficients import PATTERNS

Floats = NDArray[np.float64]
_AT_ONCE = 128
"""Layers whose scalars are turned into arrays together."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Estimate for one choice of coefficients over the layers that are analysed."""

    layers: int
    """How many layers the estimate covers."""
    update_norm: float
    """‖M‖ / ‖τ_1‖: 1 means that the merge moves the base as far as the first fine-tune did; nan without layers."""
    kept: tuple[float, ...]
    """For each fine-tune: energy of its own parts in the merge, relative to ‖τ_t‖²."""
    cosine: tuple[float, ...]
    """For each fine-tune: cosine between the update and its task vector; nan when either is zero."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """Some layers side by side, with zeros for those that are not known."""

    rows: NDArray[np.intp] | slice
    layers: int
    """How many of them are known."""
    gram: Floats
    """Inner products of two parts, layers last."""
    cross: Floats
    gram_sum: Floats
    cross_sum: Floats
    energy_sum: Floats


class EffectTable:
    """The stored scalars of every layer as stacked arrays, filled as layers finish.

    Parameters
    ----------
    layers : int
        Number of layers of the run, analysed or not.
    tasks : int
        Number of fine-tunes.
    anchor : int
        Number (from 1) of the fine-tune whose matrix is C1.
    """

    def __init__(self, layers: int, tasks: int, anchor: int = 1) -> None:
        others = [task for task in range(tasks) if task != anchor - 1]
        self._parts = [(PATTERNS[0], anchor - 1), *((name, task) for task in others for name in PATTERNS[1:])]
        self._tasks = tasks
        self._others = others
        parts = len(self._parts)
        self._pattern = np.array([PATTERNS.index(name) for name, _ in self._parts])
        self._owner = np.array([task for _, task in self._parts])
        self._known: NDArray[np.bool_] = np.zeros(layers, dtype=np.bool_)
        # Layers last, and zeros where nothing is known: sums over all of them run over contiguous memory.
        self._gram: Floats = np.zeros((parts, parts, layers))
        self._cross: Floats = np.zeros((layers, parts, tasks))
        self._energy: Floats = np.zeros((layers, tasks))
        self._packed: _Packed | None = None

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]], tasks: int, anchor: int = 1) -> EffectTable:
        """Build a table from all records of a run."""
        table = cls(len(records), tasks, anchor)
        for _ in table.gather(records):
            pass
        return table

    def gather(self, records: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        """Take over all records of a run, some of them at each step."""
        for start in range(0, len(records), _AT_ONCE):
            alike: dict[tuple[str, ...], list[int]] = {}
            for index, record in enumerate(records[start : start + _AT_ONCE], start):
                effect = record.get("effect")
                labels = effect.get("labels") if isinstance(effect, Mapping) else None
                if record.get("status") == "done" and isinstance(labels, list):
                    alike.setdefault(tuple(map(str, labels)), []).append(index)
            for rows in alike.values():
                if not self._put_alike(rows, records):
                    for index in rows:
                        self.put(index, records[index])
            yield

    def _put_alike(self, rows: list[int], records: Sequence[Mapping[str, Any]]) -> bool:
        """Take over records with equal labels at once; False, and nothing is taken, when one of them is damaged."""
        first = records[rows[0]]["effect"]
        try:
            places = [self._place(str(label)) for label in first["labels"]]
            keys = ("gram", "cross", "task_energy")
            arrays = [np.array([records[row]["effect"][key] for row in rows], dtype=float) for key in keys]
        except (KeyError, TypeError, ValueError):
            return False
        size = len(places)
        shapes = [(size, size), (size, self._tasks), (self._tasks,)]
        if [array.shape[1:] for array in arrays] != shapes or not all(np.isfinite(array).all() for array in arrays):
            return False
        self._gram[np.ix_(places, places, rows)] = arrays[0].transpose(1, 2, 0)
        self._cross[np.ix_(rows, places)] = arrays[1]
        self._energy[rows] = arrays[2]
        for row in rows:
            whole = _whole_energy(records[row].get("norm"), self._tasks)
            if whole is not None:
                self._energy[row] = whole
        self._known[rows] = True
        self._packed = None
        return True

    @property
    def layers(self) -> int:
        """Number of layers whose scalars are known."""
        return int(self._known.sum())

    def put(self, index: int, record: Mapping[str, Any]) -> bool:
        """Take over the `effect` of one record; a record without a whole and finite one clears the layer.

        Returns
        -------
        bool
            Whether the layer counts in estimates from now on.
        """
        self._packed, self._known[index] = None, False
        self._gram[:, :, index] = self._cross[index] = self._energy[index] = 0.0
        effect = record.get("effect")
        if not effect or record.get("status") != "done":
            return False
        try:
            places = [self._place(str(label)) for label in effect["labels"]]
            arrays = [np.asarray(effect[key], dtype=float) for key in ("gram", "cross", "task_energy")]
        except (KeyError, TypeError, ValueError):
            return False
        labels = len(places)
        shapes = [(labels, labels), (labels, self._tasks), (self._tasks,)]
        if [array.shape for array in arrays] != shapes or not all(np.isfinite(array).all() for array in arrays):
            return False
        gram, cross, energy = arrays
        whole = _whole_energy(record.get("norm"), self._tasks)
        energy = energy if whole is None else whole
        self._gram[:, :, index][np.ix_(places, places)] = gram
        self._cross[index][places] = cross
        self._energy[index] = energy
        self._known[index] = True
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
        packed = self._chosen(only)
        choice = np.asarray(coefficients, dtype=float)
        if choice.ndim == 2 and len(choice) > 1:
            between, along = self._summed(choice[packed.rows][:, self._pattern], packed)
        else:
            alike = choice.reshape(-1)[self._pattern]
            between, along = packed.gram_sum * np.outer(alike, alike), alike @ packed.cross_sum
        total = max(float(between.sum()), 0.0)
        own = [self._own(between, task) for task in range(self._tasks)]
        energy = packed.energy_sum
        return Effect(
            layers=packed.layers,
            update_norm=_ratio(total, float(energy[0])) ** 0.5,
            kept=tuple(_ratio(part, float(whole)) for part, whole in zip(own, energy, strict=True)),
            cosine=tuple(
                _ratio(float(inner), float(np.sqrt(total * whole))) for inner, whole in zip(along, energy, strict=True)
            ),
        )

    def _chosen(self, only: Sequence[int] | None) -> _Packed:
        """Layers side by side and their sums; those of all are kept until another layer becomes known."""
        if only is None:
            if self._packed is None:
                self._packed = self._pack(slice(None), self.layers)
            return self._packed
        rows = np.flatnonzero(self._known)
        rows = rows[np.isin(rows, np.asarray(list(only), dtype=int))]
        return self._pack(rows, len(rows))

    def _pack(self, rows: NDArray[np.intp] | slice, layers: int) -> _Packed:
        gram, cross, energy = self._gram[:, :, rows], self._cross[rows], self._energy[rows]
        return _Packed(rows, layers, gram, cross, gram.sum(axis=2), cross.sum(axis=0), energy.sum(axis=0))

    def _summed(self, parts: Floats, packed: _Packed) -> tuple[Floats, Floats]:
        """Σ_l c_lk G_lkj c_lj for every pair of parts, and Σ_l c_lk X_lkt for every fine-tune."""
        columns = np.ascontiguousarray(parts.T)
        between = np.zeros((len(columns), len(columns)))
        for k, column in enumerate(columns):
            for j in range(k, len(columns)):
                between[k, j] = between[j, k] = np.dot(column * columns[j], packed.gram[k, j])
        return between, np.einsum("lk,lkt->t", parts, packed.cross)

    def _own(self, between: Floats, task: int) -> float:
        mine = np.flatnonzero(self._owner == task)
        return max(float(between[np.ix_(mine, mine)].sum()), 0.0)

    def _place(self, label: str) -> int:
        """Row of a part: a pattern, followed by `@` and the number of its fine-tune where there are several others."""
        pattern, _, number = label.partition("@")
        owner = int(number) - 1 if number else self._parts[0][1] if pattern == PATTERNS[0] else self._others[0]
        return self._parts.index((pattern, owner))


def as_array(coefficients: Mapping[str, float]) -> Floats:
    """Coefficients by name as an array in the order of `PATTERNS`."""
    return np.array([float(coefficients[pattern]) for pattern in PATTERNS])


def _whole_energy(norm: object, tasks: int) -> Floats | None:
    """‖τ_t‖² of the whole task vectors, when the record has all of them."""
    norms = norm.get("task_vectors") if isinstance(norm, Mapping) else None
    if not isinstance(norms, list) or len(norms) != tasks or not all(isinstance(n, int | float) for n in norms):
        return None
    squares = np.asarray(norms, dtype=float) ** 2
    return squares if np.isfinite(squares).all() else None


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else float("nan")
