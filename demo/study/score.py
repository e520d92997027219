"""What a merge keeps of its fine-tunes, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from demo.study.members import TEXTS, Member
from globa_tui.jobs.evaluation.metrics import Reference, harmonic_mean


class Scores:
    """The results of one group on one part of the data.

    Parameters
    ----------
    members
        The fine-tunes.
    results
        Values by task and metric, by merge; the members and the base are among them under their names.
    part
        ``tune`` or ``test``.
    """

    def __init__(self, members: Sequence[Member], results: Mapping[str, Any], part: str) -> None:
        self.members, self._results, self._part = members, results, part

    def share(self, key: str, member: Member) -> float:
        """Performance on the member's task over the member's own: exact answers, or the inverse of bits per byte."""
        metric = _performance(member)
        base, own, value = (self._value(name, member, metric) for name in ("base", member.name, key))
        return Reference(metric, base, own).share(value, "share")

    def gain(self, key: str, member: Member) -> float:
        """What is kept of the member's advance over the base, in bits per byte; below 0 it is worse."""
        metric = _bits(member)
        base, own, value = (self._value(name, member, metric) for name in ("base", member.name, key))
        return (base - value) / (base - own)

    def loss(self, key: str, member: Member) -> float:
        """The merging loss, share − 1."""
        return self.share(key, member) - 1.0

    def harmonic(self, key: str) -> float:
        """Harmonic mean of the shares: the score of a sweep."""
        return harmonic_mean(self.share(key, member) for member in self.members)

    def mean_gain(self, key: str) -> float:
        """Mean of the gains."""
        return sum(self.gain(key, member) for member in self.members) / len(self.members)

    def mean_loss(self, key: str) -> float:
        """Mean merging loss."""
        return sum(self.loss(key, member) for member in self.members) / len(self.members)

    def _value(self, key: str, member: Member, metric: str) -> float:
        return float(self._results[key][f"{member.task}.{self._part}"][metric])


def _performance(member: Member) -> str:
    return "bits_per_byte" if member.task in TEXTS else "forced_match"


def _bits(member: Member) -> str:
    return "bits_per_byte" if member.task in TEXTS else "answer_bits_per_byte"
