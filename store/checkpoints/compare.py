"""One fine-tune against the base: the pairs, and everything worth knowing about what does not pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from store.checkpoints.adapter_heads import report_heads, tied_heads
from store.checkpoints.finding import Finding
from store.checkpoints.model import Checkpoint
from store.checkpoints.names import kind_of
from store.checkpoints.pairing import Renaming, pair_names
from store.checkpoints.quantisation import quantised
from store.checkpoints.text import shown, shown_shape
from store.checkpoints.tied import input_embedding, is_output_embedding, says_tied
from store.checkpoints.vocabulary import is_token_table


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
    heads = tied_heads(base, model, names, ties)
    findings = [
        *_renamed(renaming, label, len(names)),
        *quantised(model, label),
        *_mismatched(base, model, names, label),
        *_tied(stand_ins, label),
        *_untied(model, names, ties, label),
        *(_adapted(base, model, names, label) if model.adapter else _missing(base, names, stand_ins, label)),
        *report_heads(base, model, names, heads, label),
        *_extra(base, model, {*names.values(), *heads}, label),
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


def _mismatched(base: Checkpoint, model: Checkpoint, names: Mapping[str, str], label: str) -> Iterator[Finding]:
    factored = {name for name, one in model.low_rank.items() if one.over is None}
    for name, other in names.items():
        ours, theirs = base.tensors[name].shape, model.tensors[other].shape
        same_width = len(ours) == len(theirs) and ours[1:] == theirs[1:]
        if ours == theirs or (same_width and is_token_table(name, base.tensors[name]) and other not in factored):
            continue
        alias = "" if other == name else f" as {shown(other)}"
        text = f"{shown(name)}: base has {shown_shape(ours)}, {label} has {shown_shape(theirs)}{alias}"
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
            source = input_embedding(model.tensors, base.tensors[name].shape, any_rows=True)
            if source is not None:
                yield name, source


def _tied(stand_ins: Mapping[str, str], label: str) -> Iterator[Finding]:
    for name, source in stand_ins.items():
        yield Finding("info", "tied", f"{shown(name)}: tied to {shown(source)} in {label}, read from there", name)


def _untied(model: Checkpoint, names: Mapping[str, str], ties: Mapping[str, str], label: str) -> Iterator[Finding]:
    """Warn of output embeddings of a fine-tune's own where the base stores a copy of its input embeddings."""
    if says_tied(model.config) is False:
        for name, source in ties.items():
            if name in names and is_output_embedding(name):
                text = f"{shown(name)}: {label} stores output embeddings of its own, the base ties them to"
                yield Finding("warning", "untied", f"{text} {shown(source)}: left out", name)


def _missing(base: Checkpoint, names: Mapping[str, str], stand_ins: Mapping[str, str], label: str) -> Iterator[Finding]:
    for name in base.tensors:
        if name not in names and name not in stand_ins:
            yield Finding("warning", "missing", f"{shown(name)}: not in {label}: counts as unchanged", name)


def _adapted(base: Checkpoint, model: Checkpoint, names: Mapping[str, str], label: str) -> Iterator[Finding]:
    """Say what an adapter changes; that it leaves the rest alone is its nature, and nothing to warn of."""
    ranks = sorted({one.rank for one in model.low_rank.values()})
    span = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}" if ranks else "no factors"
    whole = sum(other not in model.low_rank for other in names.values())
    text = f"{label}: a LoRA adapter of {span}; it changes {len(names):,} of {len(base.tensors):,} tensors"
    yield Finding("info", "adapter", f"{text} ({whole:,} of them whole), the others are as in the base")


def _extra(base: Checkpoint, model: Checkpoint, known: Set[str], label: str) -> Iterator[Finding]:
    for name, header in model.tensors.items():
        if name in known:
            continue
        embedding = input_embedding(base.tensors, header.shape, any_rows=True) if is_output_embedding(name) else None
        if name in model.low_rank:
            text = f"{shown(name)}: {label} ({shown(model.source)}) adapts it, but the base has no such tensor"
            yield Finding("error", "adapter", f"{text}; merge the adapter with PEFT first", name)
        elif embedding is None:
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
