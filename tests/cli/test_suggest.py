"""Suggestions: which scenario, which reasons, and that measurements go before weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from globa_tui.coefficients import PATTERNS, Coefficients
from globa_tui.evidence import FOUND, evidence
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.results import read_results
from globa_tui.recipe import Recipe
from globa_tui.suggest import suggest
from store.run.journal import append_journal
from tests.cli.records import call, make_run

SETTINGS = {"eta": [0.95, 0.8]}


def record(name: str = "q", rank: int = 9, **energies: float) -> dict[str, Any]:
    return {
        "name": name,
        "status": "done",
        "shape": [32, 64],
        "rank": [20, rank],
        "patterns": {pattern: {"count": 1, "energy": energies.get(pattern, 0.0)} for pattern in PATTERNS},
        "knee": [{"rank": 3, "energy": 0.7}, {"rank": None, "energy": None}],
    }


@pytest.mark.parametrize(
    ("energies", "scenario", "coefficient"),
    [
        ({"A": 5, "B": 2, "D-": 3}, "orthogonal", ("D-", 0.0)),
        ({"A": 2, "D-": 2, "D+": 1, "B": 3}, "conflict-dominated", ("B", 0.0)),
        ({"A": 2, "D-": 1, "D+": 3, "B": 3}, "synergy-dominated", ("D-", 1.0)),
        ({"A": 3, "D-": 0.4, "D+": 0.5, "B": 5}, "balanced", ("C1", 0.7)),
        ({}, "balanced", ("A", 0.7)),
    ],
)
def test_the_scenario_is_by_energy(energies: dict[str, float], scenario: str, coefficient: tuple[str, float]) -> None:
    found = suggest("run", [record("q", 9, **energies), {"status": "pending", "name": "x"}], SETTINGS, None)
    assert (found.scenario, found.measured) == (scenario, False)
    assert found.recipe.coefficients[coefficient[0]] == coefficient[1]
    assert sum(found.shares.values()) == pytest.approx(1.0 if energies else 0.0)


def test_thresholds_and_thin_layers_are_named() -> None:
    reasons = " | ".join(suggest("run", [record(A=1), record("embed", rank=1, A=1)], SETTINGS, None).reasons)
    assert "fine-tune 1: the energy curves bend at 0.70 (median); eta is 0.95" in reasons
    assert "fine-tune 2: the energy" not in reasons
    assert "embed keeps 1 of 32 directions: raise --svd-energy" in reasons


def test_a_sweep_goes_before_weights(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    append_journal(path, {"format": 1, "tasks": [{"name": "t", "metric": "accuracy"}]})
    append_journal(path, {"reference": "fine-tune 1", "values": {"t": {"accuracy": 1.0}}})
    candidates = [Candidate(Coefficients({**dict.fromkeys(PATTERNS, 1.0), "A": n / 10})) for n in range(8)]
    for number, candidate in enumerate(candidates):
        results = read_results(path)
        assert not suggest("run", [record(A=1)], SETTINGS, results).measured, "too few to follow"
        append_journal(
            path, {"candidate": candidate.to_dict(), "values": {"t": {"accuracy": 0.9 - abs(number - 5) / 10}}}
        )
    found = suggest("run", [record(A=1)], SETTINGS, read_results(path))
    assert found.measured
    assert found.recipe.coefficients["A"] == 0.5
    assert "the best of 8 candidates keeps t 0.900" in " ".join(found.reasons)


def test_the_command(tmp_path: Path) -> None:
    run = str(make_run(tmp_path))
    result = call("suggest", run, "--recipe", str(tmp_path / "start.yaml"))
    assert result.code == 0, result.err
    assert "weights alone do not decide" in result.err
    assert result.out.splitlines()[-1].startswith("globa-tui merge ")
    stated = json.loads(FOUND.read_text(encoding="utf-8"))
    wins = stated["weights"]["harmonic"]["wins"]
    assert f"on {stated['pairs']} pairs" in result.out
    assert f"beat WA in {wins['WA']}, TA in {wins['TA']}, TIES in {wins['TIES']}, DARE in {wins['DARE']}" in result.out
    assert Recipe.read(tmp_path / "start.yaml").run == run
    found = json.loads(call("suggest", run, "--json").out)
    assert (found["measured"], found["basis"], found["recipe"]["method"]) == (False, "weights", "globa")
    assert found["evidence"] in result.out


def test_every_basis_has_its_own_evidence() -> None:
    assert evidence("evaluation") is None
    sweep = evidence("sweep")
    assert sweep is not None
    assert "the best of a sweep beat WA in" in sweep
    assert sweep != evidence("weights")
