"""Which tensor of a fine-tune belongs to which tensor of the base, when one side carries other prefixes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from store.checkpoints.model import TensorHeader
from store.checkpoints.names import block_of

MAX_PREFIX = 8
"""Modules a prefix may name; real ones name one or two."""
MAX_ROUNDS = 6
"""Prefixes that one fine-tune may have instead of others: text model, vision tower, projector, head."""


@dataclass(frozen=True, slots=True)
class Renaming:
    """How names of a fine-tune become names of the base: ``strip`` a prefix, then ``add`` one."""

    strip: str = ""
    add: str = ""

    def apply(self, name: str) -> str | None:
        """Return the base's name for a fine-tune's name; None when the prefix to strip is not there."""
        if not name.startswith(self.strip):
            return None
        return self.add + name[len(self.strip) :]

    def __str__(self) -> str:
        """Describe the renaming for a message."""
        if self.strip and self.add:
            return f"with the prefix '{self.add}' for its prefix '{self.strip}'"
        if self.strip:
            return f"without its prefix '{self.strip}'"
        return f"with the prefix '{self.add}'" if self.add else "unchanged"


def pair_names(
    base: Mapping[str, TensorHeader], fine_tuned: Mapping[str, TensorHeader]
) -> tuple[Renaming, dict[str, str]]:
    """Pair the names of a fine-tune with those of its base.

    Of all ways to strip or add one prefix (``bert.``, ``model.``, ``transformer.``, …; whatever the names suggest)
    the one is taken that pairs most tensors of equal shape, then most names, then with the shorter prefix, so that
    unchanged names win ties. Names that the renaming leaves unpaired may still pair unchanged (an ``lm_head`` outside
    the prefixed part). What is left then (the other halves of a vision-language model) is paired in the same way, and
    there one prefix may also stand for another, if that pairs numbered blocks.

    Returns
    -------
    Renaming
        The first.
    dict
        Base name to fine-tune name.
    """
    equal, named = _scores(base, fine_tuned)
    best = max(named, key=lambda way: (equal[way], named[way], -len(way.strip + way.add), str(way)))
    pairs: dict[str, str] = {}
    _pair(pairs, best, base, fine_tuned)
    _pair(pairs, Renaming(), base, fine_tuned)
    for _ in range(MAX_ROUNDS):
        taken = set(pairs.values())
        ours = {name: header for name, header in base.items() if name not in pairs}
        theirs = {name: header for name, header in fine_tuned.items() if name not in taken}
        way = _next(ours, theirs) if ours and theirs else None
        if way is None:
            break
        _pair(pairs, way, ours, theirs, equal_only=True)
    return best, pairs


def _pair(
    pairs: dict[str, str],
    way: Renaming,
    base: Mapping[str, TensorHeader],
    fine_tuned: Mapping[str, TensorHeader],
    *,
    equal_only: bool = False,
) -> None:
    taken = set(pairs.values())
    for name, header in fine_tuned.items():
        target = way.apply(name)
        if target is None or target not in base or target in pairs or name in taken:
            continue
        if not equal_only or base[target].shape == header.shape:
            pairs[target] = name


def _scores(
    base: Mapping[str, TensorHeader], fine_tuned: Mapping[str, TensorHeader]
) -> tuple[Counter[Renaming], Counter[Renaming]]:
    """Count, for each possible renaming, the pairs of equal shape and the pairs of names."""
    equal: Counter[Renaming] = Counter()
    named: Counter[Renaming] = Counter({Renaming(): 0})

    def count(way: Renaming, in_base: str, in_fine_tuned: str) -> None:
        named[way] += 1
        equal[way] += base[in_base].shape == fine_tuned[in_fine_tuned].shape

    for name in fine_tuned:
        if name in base:
            count(Renaming(), name, name)
        for prefix, rest in _splits(name):
            if rest in base:
                count(Renaming(strip=prefix), rest, name)
    for name in base:
        for prefix, rest in _splits(name):
            if rest in fine_tuned:
                count(Renaming(add=prefix), name, rest)
    return equal, named


def _next(base: Mapping[str, TensorHeader], fine_tuned: Mapping[str, TensorHeader]) -> Renaming | None:
    """Find the renaming that pairs most tensors of equal shape among those that are left."""
    equal, _ = _scores(base, fine_tuned)
    equal += _exchanges(base, fine_tuned)
    if not equal:
        return None
    return max(equal, key=lambda way: (equal[way], -len(way.strip + way.add), str(way)))


def _exchanges(base: Mapping[str, TensorHeader], fine_tuned: Mapping[str, TensorHeader]) -> Counter[Renaming]:
    """Count the pairs of equal shape that an exchange of one prefix for another makes.

    Only rests that name a numbered block count: a bare ``dense.weight`` would fit anything.
    """
    rests: dict[str, list[str]] = {}
    for prefix, rest in _numbered(base):
        rests.setdefault(rest, []).append(prefix)
    equal: Counter[Renaming] = Counter()
    for strip, rest in _numbered(fine_tuned):
        for add in rests.get(rest, ()):
            if base[add + rest].shape == fine_tuned[strip + rest].shape:
                equal[Renaming(strip, add)] += 1
    return equal


def _numbered(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        for prefix, rest in _splits(name):
            if block_of(rest) is not None:
                yield prefix, rest


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield the ways to cut a dotted name into a prefix (with its dot) and a rest."""
    at = -1
    for _ in range(MAX_PREFIX):
        at = name.find(".", at + 1)
        if at < 0:
            return
        yield name[: at + 1], name[at + 1 :]
