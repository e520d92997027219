"""Which tensor of a fine-tune belongs to which tensor of the base, when one side carries another prefix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from store.checkpoints.model import TensorHeader

MAX_PREFIX = 8
"""Modules a prefix may name; real ones name one or two."""


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
    the prefixed part).

    Returns
    -------
    Renaming
        The winner.
    dict
        Base name to fine-tune name.
    """
    equal, named = _scores(base, fine_tuned)
    best = max(named, key=lambda way: (equal[way], named[way], -len(way.strip + way.add), str(way)))
    pairs: dict[str, str] = {}
    for name in fine_tuned:
        target = best.apply(name)
        if target is not None and target in base:
            pairs[target] = name
    taken = set(pairs.values())
    for name in fine_tuned:
        if name in base and name not in pairs and name not in taken:
            pairs[name] = name
    return best, pairs


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


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield the ways to cut a dotted name into a prefix (with its dot) and a rest."""
    at = -1
    for _ in range(MAX_PREFIX):
        at = name.find(".", at + 1)
        if at < 0:
            return
        yield name[: at + 1], name[at + 1 :]
