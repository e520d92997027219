"""The index of an analysis: every tensor of the base, and what it is called in each fine-tune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from store.checkpoints.compare import Finding, compare, quantised
from store.checkpoints.model import Checkpoint
from store.checkpoints.names import block_of, kind_of, role_of
from store.checkpoints.tied import find_ties
from store.errors import MismatchError


@dataclass(frozen=True, slots=True)
class Layer:
    """One tensor of the base and its counterparts."""

    index: int
    """Position in the base's order."""
    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    """``q_proj``, ``embed``, ``norm``, …; see `kind_of`."""
    block: int | None
    role: Literal["matrix", "vector", "other"]
    fine_tuned: tuple[str | None, ...]
    """Its name in each fine-tune; None where it is not there, which counts as unchanged."""
    tied_to: str | None
    """The base tensor it repeats, if any."""


@dataclass(frozen=True)
class Index:
    """How a base and its fine-tunes fit together."""

    base: Checkpoint
    fine_tuned: tuple[Checkpoint, ...]
    layers: tuple[Layer, ...] = field(repr=False)
    """One per tensor of the base, in its order."""
    findings: tuple[Finding, ...] = field(repr=False)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that forbid merging."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def require_mergeable(self) -> None:
        """Raise when the checkpoints do not fit.

        Raises
        ------
        MismatchError
            Saying how many things do not fit, and the first of them.
        """
        errors = self.errors
        if errors:
            count = "" if len(errors) == 1 else f"{len(errors)} things do not fit; first: "
            raise MismatchError(count + errors[0].message)


def build_index(base: Checkpoint, fine_tuned: Sequence[Checkpoint]) -> Index:
    """Pair every tensor of the base with its counterparts in the fine-tunes.

    Parameters
    ----------
    base : Checkpoint
        The common ancestor.
    fine_tuned : sequence of Checkpoint
        In the user's order; messages call them ``ft1``, ``ft2``, ….

    Returns
    -------
    Index
        With findings of severity ``"error"`` where shapes differ or nothing pairs. Nothing is raised for them here,
        so that they can all be shown; call `Index.require_mergeable` before using values.

    Notes
    -----
    Looks at headers only. Time grows with the number of names times their dots.
    """
    ties = find_ties(base)
    compared = [compare(base, model, number, ties) for number, model in enumerate(fine_tuned, 1)]
    layers = tuple(
        Layer(
            index=index,
            name=name,
            shape=header.shape,
            dtype=header.dtype,
            kind=kind_of(name),
            block=block_of(name),
            role=role_of(header),
            fine_tuned=tuple(one.names.get(name) for one in compared),
            tied_to=ties.get(name),
        )
        for index, (name, header) in enumerate(base.tensors.items())
    )
    findings = [*quantised(base, "base"), *(finding for one in compared for finding in one.findings)]
    return Index(base, tuple(fine_tuned), layers, tuple(findings))
