"""One fine-tune against the base: the pairs, and everything worth knowing about what does not pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from store.checkpoints.model import Checkpoint
from store.checkpoints.names import kind_of
from store.checkpoints.pairing import Renaming, pair_names
from store.checkpoints.text import shown, shown_shape
from store.checkpoints.tied import input_embedding, is_output_embedding, says_tied

_QUANTISED = (".qweight", ".weight_scale", ".weight_scale_inv", ".absmax", ".SCB", "_proj_blocks")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the user should know before analysing or merging."""

    severity: Literal["info", "warning", "error"]
    code: str
    """``shape``, ``missing``, ``extra``, ``dtype``, ``prefix``, ``tied``, ``untied``, ``nothing``, ``quantised``."""
    message: str
    """One line."""
    tensor: str | None = None
    """The base's name where there is one, else the fine-tune's."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A fine-tune's names for the base's tensors, and the findings."""

    names: Mapping[str, str]
    findings: tuple[Finding, ...]


def compare(base: Checkpoint, model: Checkpoint, number: int, ties: Mapping[str, str]) -> Comparison:
    """Pair one fine-tune with the base and report what does not fit.

    Parameters
    ----------
    base, model : Checkpoint
        The two.
    number : int
        The fine-tune's number from 1, for messages.
    ties : mapping
        The base's tied tensors, from `find_ties`.
    """
    label = f"ft{number}"
    renaming, names = pair_names(base.tensors, model.tensors)
    if not names:
        return Comparison({}, (_nothing(base, model, label),))
    stand_ins = dict(_tied_outputs(base, model, names, ties))
    findings = [
        *_renamed(renaming, label, len(names)),
        *quantised(model, label),
        *_mismatched(base, model, names, label),
        *_tied(stand_ins, label),
        *_missing(base, names, stand_ins, label),
        *_extra(base, model, names, label),
        *_types(base, model, names, label),
    ]
    return Comparison({**names, **stand_ins}, tuple(findings))


def _nothing(base: Checkpoint, model: Checkpoint, label: str) -> Finding:
    examples = f"base has {shown(next(iter(base.tensors)))}, {label} has {shown(next(iter(model.tensors)))}"
    text = f"{label} ({shown(model.source)}): no tensor name in common with the base; {examples}"
    return Finding("error", "nothing", f"{text}; name a fine-tune of {shown(base.source)}")


def _renamed(renaming: Renaming, label: str, count: int) -> Iterator[Finding]:
    if renaming != Renaming():
        text = f"{label}: paired {shown(renaming)} ({count:,} tensors)"
        yield Finding("info", "prefix", text)


def quantised(model: Checkpoint, label: str) -> Iterator[Finding]:
    """Report a checkpoint whose numbers mean nothing without the scales beside them."""
    for name in model.tensors:
        if name.endswith(_QUANTISED):
            text = f"{shown(name)}: {label} ({shown(model.source)}) is quantised; name the unquantised checkpoint"
            yield Finding("error", "quantised", text, name)
            return


def _mismatched(base: Checkpoint, model: Checkpoint, names: Mapping[str, str], label: str) -> Iterator[Finding]:
    for name, other in names.items():
        ours, theirs = base.tensors[name].shape, model.tensors[other].shape
        if ours == theirs:
            continue
        alias = "" if other == name else f" as {shown(other)}"
        text = f"{shown(name)}: base has {shown_shape(ours)}, {label} has {shown_shape(theirs)}{alias}"
        same_width = len(ours) == len(theirs) and ours[1:] == theirs[1:]
        if kind_of(name) in ("embed", "lm_head") and same_width:
            cure = f"resize its vocabulary to the base's {ours[0]:,} rows (resize_token_embeddings)"
        else:
            cure = "name a fine-tune of the same architecture and size"
        yield Finding("error", "shape", f"{text} ({shown(model.source)}); {cure}", name)


def _tied_outputs(
    base: Checkpoint, model: Checkpoint, names: Mapping[str, str], ties: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield output embeddings the fine-tune does not store because they are its input embeddings."""
    said = says_tied(model.config)
    for name in filter(is_output_embedding, base.tensors):
        if name not in names and (said or (said is None and name in ties)):
            source = input_embedding(model.tensors, base.tensors[name].shape)
            if source is not None:
                yield name, source


def _tied(stand_ins: Mapping[str, str], label: str) -> Iterator[Finding]:
    for name, source in stand_ins.items():
        yield Finding("info", "tied", f"{shown(name)}: tied to {shown(source)} in {label}, read from there", name)


def _missing(base: Checkpoint, names: Mapping[str, str], stand_ins: Mapping[str, str], label: str) -> Iterator[Finding]:
    for name in base.tensors:
        if name not in names and name not in stand_ins:
            yield Finding("warning", "missing", f"{shown(name)}: not in {label}: counts as unchanged", name)


def _extra(base: Checkpoint, model: Checkpoint, names: Mapping[str, str], label: str) -> Iterator[Finding]:
    paired = set(names.values())
    for name, header in model.tensors.items():
        if name in paired:
            continue
        embedding = input_embedding(base.tensors, header.shape) if is_output_embedding(name) else None
        if embedding is None:
            yield Finding("info", "extra", f"{shown(name)}: only in {label}: left out", name)
        elif says_tied(model.config) is False:
            text = f"{shown(name)}: {label} stores output embeddings of its own, the base ties them to"
            yield Finding("warning", "untied", f"{text} {shown(embedding)}: left out", name)
        else:
            text = f"{shown(name)}: a copy in {label}, tied to {shown(embedding)} in the base: left out"
            yield Finding("info", "tied", text, name)


def _types(base: Checkpoint, model: Checkpoint, names: Mapping[str, str], label: str) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[str]] = {}
    for name, other in names.items():
        ours, theirs = base.tensors[name].dtype, model.tensors[other].dtype
        if ours != theirs:
            groups.setdefault((ours, theirs), []).append(name)
    for (ours, theirs), differing in groups.items():
        rest = f" and {len(differing) - 1:,} more" if len(differing) > 1 else ""
        text = f"{shown(differing[0])}{rest}: base has {ours}, {label} has {theirs}; compared in float32 or wider"
        yield Finding("info", "dtype", text, differing[0])
