"""The index of an analysis: every tensor of the base, and what it is called in each fine-tune."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from store.checkpoints.compare import compare
from store.checkpoints.finding import Finding
from store.checkpoints.model import Checkpoint, LowRank, TensorHeader
from store.checkpoints.names import block_of, is_expert_stack, kind_of, role_of
from store.checkpoints.pairing import pair_names
from store.checkpoints.quantisation import quantised
from store.checkpoints.text import shown
from store.checkpoints.tied import find_ties
from store.checkpoints.vocabulary import Vocabulary, plan_vocabulary
from store.errors import MismatchError


@dataclass(frozen=True, slots=True)
class Layer:
    """One tensor of the base, or one matrix of a stack of experts, and its counterparts."""

    index: int
    """Position in the base's order."""
    name: str
    """The base's name; for the matrix of one expert with its number, as ``….experts.up_proj[3]``."""
    shape: tuple[int, ...]
    """As in the result: the rows of token embeddings are those of the merged vocabulary."""
    dtype: str
    kind: str
    """``q_proj``, ``embed``, ``norm``, …; see `kind_of`."""
    block: int | None
    role: Literal["matrix", "vector", "other"]
    fine_tuned: tuple[str | None, ...]
    """Its name in each fine-tune; None where it is not there, which counts as unchanged."""
    tied_to: str | None
    """The base tensor it repeats, if any."""
    ranks: tuple[int | None, ...] = ()
    """Rank of the change where an adapter gives it by factors; None where it is not bounded."""
    part: int | None = None
    """Number of the matrix in a stack of experts; None for a whole tensor."""

    @property
    def tensor(self) -> str:
        """Name of the base's tensor that this is, or is a part of."""
        return self.name if self.part is None else self.name.removesuffix(f"[{self.part}]")


@dataclass(frozen=True)
class Index:
    """How a base and its fine-tunes fit together."""

    base: Checkpoint
    fine_tuned: tuple[Checkpoint, ...]
    layers: tuple[Layer, ...] = field(repr=False)
    """One per tensor of the base, or per matrix of a stack of experts, in its order."""
    findings: tuple[Finding, ...] = field(repr=False)
    vocabulary: Vocabulary | None = field(default=None, repr=False)
    """How rows of token embeddings belong together; None when all models have the same."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that forbid merging."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def source_of(self, layer: Layer) -> Layer:
        """The layer whose values a layer takes when merged: itself, or the one that it is tied to."""
        return self._by_name.get(layer.tied_to or "", layer)

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers if layer.part is None}

    @property
    def outputs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Name, type and shape of every tensor of a merged model, in the base's order."""
        rows = self.vocabulary.size if self.vocabulary else None
        tables = self.vocabulary.tensors if self.vocabulary else frozenset[str]()
        return tuple(
            (name, header.dtype, (rows, *header.shape[1:]) if rows is not None and name in tables else header.shape)
            for name, header in self.base.tensors.items()
        )

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


def build_index(base: Checkpoint, fine_tuned: Sequence[Checkpoint], vocab: str = "base") -> Index:
    """Pair every tensor of the base with its counterparts in the fine-tunes.

    Parameters
    ----------
    base : Checkpoint
        The common ancestor.
    fine_tuned : sequence of Checkpoint
        In the user's order; messages call them ``ft1``, ``ft2``, …. LoRA adapters are fine-tunes too.
    vocab : str
        Whose tokens the merged model has where vocabularies differ: ``base``, ``union``, or ``ft1`` and so on.

    Returns
    -------
    Index
        With findings of severity ``"error"`` where shapes differ or nothing pairs. Nothing is raised for them here,
        so that they can all be shown; call `Index.require_mergeable` before using values.

    Raises
    ------
    MismatchError
        When ``vocab`` names a fine-tune that is not there.

    Notes
    -----
    Looks at headers and, where tokenizers differ, at these. Time grows with the number of names times their dots.
    """
    models = tuple(_oriented(base, model) for model in fine_tuned)
    ties = find_ties(base)
    compared = [compare(base, model, number, ties) for number, model in enumerate(models, 1)]
    vocabulary, remarks = plan_vocabulary(base, models, [one.names for one in compared], vocab)
    found = [*_unfit_base(base), *quantised(base, "base")]
    found += [*(finding for one in compared for finding in one.findings), *remarks]
    index = Index(base, models, (), (), vocabulary)
    names = [one.names for one in compared]
    plain = (layer for output in index.outputs for layer in _layers(base, models, names, ties, *output))
    layers = tuple(dataclasses.replace(layer, index=number) for number, layer in enumerate(plain))
    return dataclasses.replace(index, layers=layers, findings=(*found, *_stacks(base)))


def _layers(
    base: Checkpoint,
    models: Sequence[Checkpoint],
    names: Sequence[Mapping[str, str]],
    ties: Mapping[str, str],
    name: str,
    dtype: str,
    shape: tuple[int, ...],
) -> Iterator[Layer]:
    """One layer for a tensor, or one for each matrix of a stack of experts."""
    header = base.tensors[name]
    theirs = tuple(one.get(name) for one in names)
    bounds = [model.low_rank.get(other or "") for model, other in zip(models, theirs, strict=True)]
    ranks = tuple(one.rank if one is not None else None for one in bounds)
    tied = ties.get(name)
    whole = Layer(0, name, shape, dtype, kind_of(name), block_of(name), role_of(header), theirs, tied, ranks)
    if not is_expert_stack(header):
        yield whole
        return
    for part in range(shape[0]):
        repeats = f"{tied}[{part}]" if tied is not None else None
        yield dataclasses.replace(
            whole, name=f"{name}[{part}]", shape=shape[1:], role="matrix", tied_to=repeats, part=part
        )


def _stacks(base: Checkpoint) -> Iterator[Finding]:
    stacks = [(name, header) for name, header in base.tensors.items() if is_expert_stack(header)]
    if stacks:
        name, header = stacks[0]
        text = f"{len(stacks):,} tensors are stacks of experts, taken apart into matrices"
        yield Finding("info", "experts", f"{text}; the first is {shown(name)} with {header.shape[0]:,}", name)


def _unfit_base(base: Checkpoint) -> Iterator[Finding]:
    if base.adapter:
        text = f"the base ({shown(base.source)}) is a LoRA adapter; name the whole model that it was trained on"
        yield Finding("error", "adapter", text)


def _oriented(base: Checkpoint, model: Checkpoint) -> Checkpoint:
    """The adapter with its factors turned round, where only that fits the base: ``fan_in_fan_out`` is often wrong."""
    if not model.low_rank:
        return model
    turned = {name: _turned(one) for name, one in model.low_rank.items()}
    headers = {name: _shaped(model.tensors[name], turned.get(name)) for name in model.tensors}
    straight, round_ = (
        sum(
            base.tensors[ours].shape == tensors[theirs].shape != tensors[theirs].shape[::-1]
            for ours, theirs in pair_names(base.tensors, tensors)[1].items()
            if theirs in model.low_rank
        )
        for tensors in (model.tensors, headers)
    )
    return dataclasses.replace(model, tensors=headers, low_rank=turned) if round_ > straight else model


def _turned(one: LowRank) -> LowRank:
    return one if ".lora_embedding_" in one.up.name else dataclasses.replace(one, flipped=not one.flipped)


def _shaped(header: TensorHeader, one: LowRank | None) -> TensorHeader:
    return header if one is None else dataclasses.replace(header, shape=one.shape)
