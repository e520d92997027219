"""What AlignMerge says, on the pairs and on all fine-tunes together."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from demo.study.claim import Claim, count, in_most, percent, table, verdict
from demo.study.measure import Group, Pair

TOP, BOTTOM = slice(0, 4), slice(16, 32)


def alignmerge_claims(pairs: Sequence[Pair], group: Group) -> list[Claim]:
    """All of them."""
    return [
        _on_top(pairs, group, "TIES"),
        _on_top(pairs, group, "DARE"),
        _better(pairs, group, "AlignMerge-B", "TA", "Table 2"),
        _better(pairs, group, "AlignMerge-O", "TSV-M", "Table 2"),
        _better(pairs, group, "TA", "Iso-C", "Table 2, the order of its rivals"),
        interference(pairs),
    ]


def _on_top(pairs: Sequence[Pair], group: Group, below: str) -> Claim:
    return _better(pairs, group, f"{below} + B", below, "Table 15")


def _better(pairs: Sequence[Pair], group: Group, one: str, other: str, source: str) -> Claim:
    """By the mean performance, as the paper's averages; the mean gain stands beside it."""
    wins = [pair.scores("test").mean_loss(one) > pair.scores("test").mean_loss(other) for pair in pairs]
    gains = [pair.scores("test").mean_gain(one) > pair.scores("test").mean_gain(other) for pair in pairs]
    together = group.scores("test")
    rows = [
        [
            name,
            percent(mean(pair.scores("test").mean_loss(name) for pair in pairs)),
            f"{mean(pair.scores('test').mean_gain(name) for pair in pairs):.3f}".replace("-", "−"),
            percent(together.mean_loss(name)),
            f"{together.mean_gain(name):.3f}".replace("-", "−"),
        ]
        for name in (one, other)
    ]
    return Claim(
        f"AlignMerge, {source}",
        f"{one} is better than {other}.",
        verdict(in_most(wins)),
        f"By the mean merging loss in {count(wins)} pairs, by the mean gain in {count(gains)}; all "
        f"{len(group.members)} fine-tunes in one model are on the right.",
        table(["", "loss, pairs", "gain, pairs", "loss, all", "gain, all"], rows),
    )


def interference(pairs: Sequence[Pair]) -> Claim:
    """Figure 3."""
    names = ("WA", "TA", "TIES")
    size = {name: [mean(pair.sai[name]["absolute"]) for pair in pairs] for name in names}
    holds = [ta < wa and ties < wa for wa, ta, ties in zip(*(size[name] for name in names), strict=True)]
    held = [
        mean(pair.sai["WA"]["absolute"][TOP]) < mean(pair.sai["TA"]["absolute"][TOP])
        and mean(pair.sai["WA"]["signed"][BOTTOM]) < 0
        for pair in pairs
    ]
    rows = [
        [
            name,
            *(
                f"{mean(mean(pair.sai[name]['signed'][part]) for pair in pairs):+.2f}".replace("-", "−")
                for part in (TOP, BOTTOM)
            ),
            f"{mean(size[name]):.2f}",
        ]
        for name in names
    ]
    return Claim(
        "AlignMerge, Figure 3",
        "Averaging (WA) interferes less than task arithmetic (TA) in the leading directions but holds back the later "
        "ones; TA and TIES interfere less over all.",
        verdict(in_most(holds) and in_most(held)),
        f"TA and TIES have the smaller |SAI| over all {len(pairs[0].sai['WA']['signed'])} directions in {count(holds)} "
        f"pairs; what is said of averaging holds in {count(held)}. TA is at its default scale of 1, which for two "
        "fine-tunes that share directions adds up what the paper's smaller scale does not.",
        table(["", "SAI, directions 1–4", "SAI, directions 17–32", "|SAI|, all"], rows),
    )
