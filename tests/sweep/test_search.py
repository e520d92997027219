"""Searches alone, against a made-up score: which candidates they ask for, and what they learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from globa_tui.coefficients import PATTERNS, Coefficients, RecipeError
from globa_tui.diagnostics import UsageError
from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.results import pareto_front, read_results
from globa_tui.jobs.sweep.search import Space, start_search, trials_of
from globa_tui.jobs.sweep.settings import SweepRequest
from store.run.journal import append_journal


def request(**values: object) -> SweepRequest:
    return SweepRequest(Path("run.globa"), ("a.txt",), **values)  # type: ignore[arg-type]


def play(asked: SweepRequest, score, known=None, eta=(0.95, 0.8), together=1):  # noqa: ANN001
    """All candidates of a search, each with its reason and score."""
    return [item for wave in waves(asked, score, known, eta, together) for item in wave]


def waves(asked: SweepRequest, score, known=None, eta=(0.95, 0.8), together=1):  # noqa: ANN001
    """The same, those that were asked for together in a list."""
    search = start_search(asked, eta, known or {}, together)
    found = []
    wave = next(search)
    while True:
        found.append([(one.candidate, one.why, score(one.candidate)) for one in wave])
        try:
            wave = search.send([value for _, _, value in found[-1]])
        except StopIteration:
            return found


def test_the_two_stages_are_those_of_the_paper() -> None:
    """Table 3's path: D− hurts alone, 0.7 is the best scaling, and D− comes back at 1.2."""

    def score(candidate: Candidate) -> float:
        c = candidate.coefficients
        shared = [c[p] for p in ("A", "B", "C", "E", "D+")]
        alone = 0.5 + 0.01 * sum(shared) - 0.2 * c["D-"] * (sum(shared) == 0)
        return alone if len({*shared}) > 1 or not any(shared) else 1 - abs(shared[0] - 0.7) + 0.1 * c["D-"]

    found = play(request(), score)
    assert len(found) == trials_of(request(), 2) == 18
    assert [dict(c.coefficients) for c, _, _ in found[:3]] == [
        {**dict.fromkeys(PATTERNS, 0.0), "C1": 1.0},
        {**dict.fromkeys(PATTERNS, 0.0), "C1": 1.0, "A": 1.0},
        {**dict.fromkeys(PATTERNS, 0.0), "C1": 1.0, "B": 1.0},
    ]
    assert [c.coefficients["A"] for c, why, _ in found if " at " in why and "stage 1" in why] == [
        0.9,
        0.8,
        0.7,
        0.6,
        0.5,
    ]
    assert [c.coefficients["D-"] for c, _, _ in found[-5:]] == [1.2, 1.1, 1.0, 0.9, 0.8]
    best = max(found, key=lambda item: item[2])[0]
    assert str(best.coefficients) == "C1=1,A=0.7,B=0.7,C=0.7,D+=0.7,D-=1.2,E=0.7"


@pytest.mark.parametrize(("hurts", "left"), [("B", "A+C+D++E"), (None, "A+B+C+D++E"), ("all", "A+B+C+D++E")])
def test_what_hurts_alone_is_not_scaled(hurts: str | None, left: str) -> None:
    def score(candidate: Candidate) -> float:
        c = candidate.coefficients
        return 0.5 - 0.1 * (sum(c.values()) - c["C1"] if hurts == "all" else c[hurts] if hurts else 0.0)

    why = [why for _, why, _ in play(request(), score)]
    assert f"stage 1: {left} at 0.9" in why


def test_a_grid_is_every_combination() -> None:
    asked = request(search="grid", grid=("D-=0,1.2", "mlp:A=0,1", "eta=0.5"))
    found = [str(candidate) for candidate, _, _ in play(asked, lambda candidate: 0.0)]
    assert len(found) == trials_of(asked, 2) == 4
    assert found[0] == "C1=1,A=1,B=1,C=1,D+=1,D-=0,E=1; mlp:A=0; eta 0.5,0.5"
    with pytest.raises(UsageError, match="combinations"):
        trials_of(request(search="grid", grid=tuple(f"{p}={','.join(map(str, range(9)))}" for p in PATTERNS)), 2)
    for bad in ("A", "A=x", "Z=1", "mlp:=1"):
        with pytest.raises((RecipeError, UsageError)):
            trials_of(request(search="grid", grid=(bad,)), 2)


def test_tpe_learns_and_goes_on_from_what_is_known() -> None:
    """On a bowl it comes near the bottom, nearer than its starts; and what is known is not asked again."""

    def score(candidate: Candidate) -> float:
        return -sum((value - 0.35) ** 2 for value in candidate.coefficients.values())

    found = play(request(search="tpe", trials=60), score)
    starts = [value for _, why, value in found if why.startswith("start")]
    assert max(value for _, why, value in found if why == "tpe") > max(starts)
    known = {c.key(): (c, value) for c, _, value in found}
    more = play(request(search="tpe", trials=5), score, known)
    assert all(why == "tpe" for _, why, _ in more)
    assert play(request(search="tpe", trials=12), score) == found[:12], "seeded"


def test_what_does_not_depend_on_scores_is_asked_for_together() -> None:
    def score(candidate: Candidate) -> float:
        return -sum((value - 0.35) ** 2 for value in candidate.coefficients.values())

    assert [len(wave) for wave in waves(request(), score)] == [8, 5, 5]
    assert [len(wave) for wave in waves(request(search="grid", grid=("A=0,1", "B=0,1")), score)] == [4]
    at_once = waves(request(search="tpe", trials=22), score, together=5)
    assert [len(wave) for wave in at_once] == [5, 5, 5, 5, 2]
    keys = [candidate.key() for wave in at_once for candidate, _, _ in wave]
    assert len(set(keys)) == 22, "those that are open are kept apart"
    assert waves(request(search="tpe", trials=3), score, together=5)[0][0][1].startswith("start")


def test_a_space_leads_there_and_back() -> None:
    space = Space(request(search="tpe", parts=("mlp",), sweep_eta=True, sweep_skip=True), (0.95, 0.8))
    values = {name: low + 0.25 * (high - low) for name, (low, high) in space.ranges.items()}
    candidate = space.candidate(values)
    assert str(candidate.parts[0].target) == "mlp"
    assert candidate.eta == (0.613, 0.575)
    point = space.point(candidate)
    assert point == pytest.approx(values, abs=6e-4)
    assert Candidate.from_dict(candidate.to_dict()) == candidate
    plain = Candidate(Coefficients(dict.fromkeys(PATTERNS, 1.0)))
    assert (space.point(plain) or {})["eta 2"] == 0.8
    assert Space(request(search="tpe"), (0.95, 0.8)).point(candidate) is None


def test_a_request_can_be_kept() -> None:
    asked = request(search="tpe", metrics={"a": "perplexity"}, parts=("mlp",), test=("b.txt",))
    assert SweepRequest.from_json(asked.to_json()) == asked
    for bad in ("[]", "{}", '{"run": "x", "settings": {"no": 1}}', "x"):
        with pytest.raises(SettingsError, match="not the request of a sweep"):
            SweepRequest.from_json(bad)
    with pytest.raises(SettingsError, match="--search"):
        request(search="luck")


def test_the_front_is_what_nothing_dominates() -> None:
    assert pareto_front([(1, 0), (0, 1), (0.5, 0.5), (0.4, 0.5), (1, 0)]) == [0, 1, 2, 4]
    assert pareto_front([]) == []


def test_a_journal_of_a_stranger_is_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert read_results(path) is None
    append_journal(path, {"format": 1, "tasks": [{"name": "a", "metric": "accuracy"}, 3]})
    append_journal(path, {"reference": "fine-tune 1", "values": {"a": {"accuracy": 0.8}}})
    good = Candidate(Coefficients(dict.fromkeys(PATTERNS, 1.0))).to_dict()
    for record in (
        {"candidate": {"coefficients": {"Z": 1}, "parts": [], "eta": None, "skip_weights": None}},
        {"candidate": {"coefficients": 3}},
        {"candidate": good, "values": {"a": {"accuracy": 0.4}, "b": 3}, "seconds": "x"},
        {"candidate": good, "values": {"a": {"accuracy": 0.9}}},
    ):
        append_journal(path, record)
    found = read_results(path)
    assert found is not None
    assert [(trial.number, trial.score) for trial in found.trials] == [(1, 0.5)]
    assert found.best is found.trials[0]
