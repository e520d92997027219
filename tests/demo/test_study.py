"""The study on made-up measurements: verdicts fall in both directions, and its data have nothing in common."""

from __future__ import annotations

from typing import Any

import pytest

from demo import puzzles
from demo.study import calibration, pages
from demo.study.alignmerge_claims import alignmerge_claims
from demo.study.claim import Claim
from demo.study.collapse_claims import CONFLICT, HIDDEN, collapse_claims
from demo.study.globa_claims import TYPES, globa_claims
from demo.study.measure import METHODS, RIVALS, Group, Pair
from demo.study.members import MEMBERS, Member, _spread, pairs_of
from demo.study.score import Scores

FOUR = (MEMBERS[0], MEMBERS[1], MEMBERS[2], MEMBERS[6])
"""Math, code, prose and roman."""
STAGES = [f"stage 1: {name} alone" for name in TYPES] + ["C1 alone", "stage 1: all patterns"]
STAGES += [f"stage 1: A at {scale}" for scale in (0.9, 0.8, 0.7, 0.6, 0.5)]
STAGES += [f"stage 2: D- at {scale}" for scale in (1.2, 1.1, 1, 0.9, 0.8)]
SPECTRUM = {"signed": [0.1] * 32, "absolute": [0.1] * 32}


def measured(kept: dict[str, float], members: tuple[Member, ...]) -> dict[str, Any]:
    """Results in which a merge keeps so much of every fine-tune."""
    results: dict[str, Any] = {}
    for key, share in {"base": 0.0, **{member.name: 1.0 for member in members}, **kept}.items():
        bits = 2.0 - share
        values = {"forced_match": share, "answer_bits_per_byte": bits, "bits_per_byte": 1 / (0.1 + 0.9 * share)}
        results[key] = {f"{member.task}.{part}": values for member in members for part in ("tune", "test")}
    return results


def pair(members: tuple[Member, Member], kept: dict[str, float] | None = None, number: int = 0) -> Pair:
    every = {name: 0.5 for name in (*METHODS, *STAGES, "suggested")} | (kept or {})
    results = measured(every, members) | {"swept": "stage 1: A at 0.9", "suggestion": {"scenario": "balanced"}}
    weights = {name: 0.3 + 0.01 * number for name in (*CONFLICT, "energy of type A")}
    return Pair(members, results, weights, dict.fromkeys(RIVALS[:3], SPECTRUM))


def group() -> Group:
    every = {name: 0.5 for name in METHODS if name != "SLERP"}
    similar = [[1.0, 0.1, 0.5, 0.9], [0.1, 1.0, 0.4, 0.2], [0.5, 0.4, 1.0, 0.3], [0.9, 0.2, 0.3, 1.0]]
    return Group(FOUR, measured(every, FOUR), similar, [2.0, 4.3, 2.5, 2.1])


NUMERICS = {
    "matrices": 28,
    "equation 23": {
        "basis energy 1, η 1": {"median": 1e-15, "worst": 1e-14},
        "basis energy 0.999, η 1": {"median": 0.04, "worst": 0.1},
        "basis energy 0.999, η 0.8": {"median": 0.4, "worst": 0.5},
    },
    "moved": {"published procedure: type A": {"median": 0.6, "worst": 0.7}},
}


def found(claims: list[Claim], source: str, says: str = "") -> Claim:
    return next(claim for claim in claims if source in claim.source and says in claim.says)


@pytest.mark.parametrize(("a", "verdict"), [(0.505, "confirmed"), (0.45, "not confirmed")])
def test_type_a_is_harmless_or_not(a: float, verdict: str) -> None:
    pairs = [pair(two, {"stage 1: A alone": a}) for two in pairs_of(FOUR)]
    claim = found(globa_claims(pairs, NUMERICS), "Table 3")
    assert claim.verdict == verdict
    assert ("6 of 6" in claim.found) == (verdict == "confirmed")


def test_numerics_decide_what_needs_no_data() -> None:
    pairs = [pair(two) for two in pairs_of(FOUR)]
    claims = globa_claims(pairs, NUMERICS)
    assert (claims[0].verdict, claims[1].verdict) == ("confirmed", "not confirmed")
    assert "moves by 60 %" in claims[1].found
    still = {**NUMERICS, "moved": {"published procedure: type A": {"median": 1e-6, "worst": 1e-6}}}
    assert globa_claims(pairs, still)[1].verdict == "confirmed"


@pytest.mark.parametrize(("scaled", "verdict"), [((0.2, 0.6), "not confirmed"), ((0.6, 0.2), "not confirmed")])
def test_a_trade_off_needs_both_directions(scaled: tuple[float, float], verdict: str) -> None:
    """When both tasks rise, or both fall, nothing is traded."""
    ends = {"stage 1: A at 0.9": scaled[0], "stage 1: A at 0.5": scaled[1]}
    claims = globa_claims([pair(two, ends) for two in pairs_of(FOUR)], NUMERICS)
    assert found(claims, "Figure 2").verdict == verdict


@pytest.mark.parametrize(("better", "verdict"), [(0.7, "confirmed"), (0.4, "not confirmed")])
def test_a_method_is_better_when_it_wins_in_most_pairs(better: float, verdict: str) -> None:
    pairs = [pair(two, {"TIES + B": better, "AlignMerge-O": better}) for two in pairs_of(FOUR)]
    claims = alignmerge_claims(pairs, group())
    assert found(claims, "Table 15", "TIES").verdict == verdict
    assert found(claims, "Table 2", "AlignMerge-O").verdict == verdict
    assert found(claims, "Table 15", "DARE").verdict == "not confirmed", "a tie is no win"


def test_correlations_are_those_of_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the measure rises with the loss pair by pair, it is found; where nothing varies, nothing is."""
    few = collapse_claims([pair(two) for two in pairs_of(FOUR)], group())
    assert found(few, "Table 4", "No measure").verdict == "not testable at this size"
    monkeypatch.setattr("demo.study.collapse_claims.FEWEST", 6)
    rising = [pair(two, dict.fromkeys(METHODS, 0.8 - 0.1 * n), n) for n, two in enumerate(pairs_of(FOUR))]
    claims = collapse_claims(rising, group())
    assert found(claims, "Table 4", "No measure").verdict == "not confirmed"
    assert "−1.00" in found(claims, "Table 4", "No measure").table
    level = [pair(two, number=n) for n, two in enumerate(pairs_of(FOUR))]
    assert found(collapse_claims(level, group()), "Table 4", "No measure").verdict == "confirmed"
    assert HIDDEN in found(claims, "Table 4", "hidden states").table


def test_a_suggestion_is_counted_where_it_wins() -> None:
    pairs = [pair(two, {"suggested": 0.9 if n < 4 else 0.2}) for n, two in enumerate(pairs_of(FOUR))]
    evidence = calibration.evidence(pairs)
    assert evidence["weights"]["harmonic"]["beats_all"] == 4
    assert evidence["weights"]["gain"]["wins"] == dict.fromkeys(RIVALS, 4)
    assert evidence["sweep"]["harmonic"]["beats_all"] == 0
    page = pages.calibration_page(FOUR, pairs, evidence)
    assert "together in 4 of 6 pairs" in page
    assert page.count("balanced") == 7


def test_the_page_has_every_claim() -> None:
    pairs = [pair(two) for two in pairs_of(FOUR)]
    claims = [*globa_claims(pairs, NUMERICS), *alignmerge_claims(pairs, group()), *collapse_claims(pairs, group())]
    page = pages.claims_page(claims, FOUR, len(pairs))
    assert all(claim.says in page and claim.found in page for claim in claims)
    assert page.count("## ") == len(claims) == 19


def test_shares_and_gains_are_as_defined() -> None:
    scores = Scores(FOUR, measured({"half": 0.5}, FOUR), "test")
    math, code = FOUR[:2]
    assert scores.share("half", math) == 0.5
    assert scores.gain("half", math) == pytest.approx(0.5)
    assert scores.share("half", code) == pytest.approx(0.55), "the inverse of the bits"
    assert scores.loss("half", math) == pytest.approx(-0.5)
    assert scores.gain("base", code) == 0.0


def test_pairs_are_of_different_tasks() -> None:
    names = {(one.name, other.name) for one, other in pairs_of(MEMBERS)}
    assert len(names) == 33
    assert ("math", "sums") not in names


def test_text_for_tuning_and_for_the_test_has_nothing_in_common() -> None:
    text = "".join(f"{number:05d} " for number in range(8000))
    tune, test = _spread(text, (0,), 2000), _spread(text, (2, 4), 4000)
    assert (len(tune), len(test)) == (2000, 4000)
    assert not set(tune.split()[1:-1]) & set(test.split()[1:-1])


def test_puzzles_are_right_and_held_out_by_question(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [puzzles.roman(number) for number in ("1994", "3888", "4")] == ["MCMXCIV", "MMMDCCCLXXXVIII", "IV"]
    assert puzzles.rot13(puzzles.rot13("emma")) == "emma"
    monkeypatch.setattr(puzzles, "LINES", 3000)
    trained = set(puzzles.training_text("roman").split())
    held_out = puzzles.held_out_lines("roman", 120)
    assert len(set(held_out)) == 120
    assert not trained & set(held_out)
    assert "backwards=sdrawkcab" in puzzles.solved("backwards", ["backwards"])
