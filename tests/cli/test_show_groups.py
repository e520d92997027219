"""`show --by`, `--what-if` and `--pair`, against the arrays and sums of the layers themselves."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analysis.conflict import conflict_sums
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from store.run import Run
from tests.cli.records import call, make_run
from tests.jobs.family import family


def analysed(folder: Path, tasks: int, **settings: Any) -> str:
    base, fine_tuned = family(folder, tasks=tasks)
    asked = replace(AnalysisSettings(include=("layers.*(up|q)_proj",)), **settings)
    run_analysis(AnalysisRequest(str(base), tuple(map(str, fine_tuned)), folder / "run.globa", asked))
    return str(folder / "run.globa")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    return analysed(tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> str:
    return analysed(tmp_path_factory.mktemp("three"), 3, pairs="all")


def document(*argv: str) -> dict[str, Any]:
    result = call("show", *argv, "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def done(run: str) -> list[dict[str, Any]]:
    return [dict(record) for record in Run.open(run).records() if record["status"] == "done"]


def test_conflicts_of_the_model_are_those_of_one_long_vector(two: str) -> None:
    folder = Path(two).parent
    models = [load_file(folder / name / "model.safetensors") for name in ("base", "ft1", "ft2")]
    names = [record["name"] for record in done(two)]
    whole = conflict_sums(*(torch.cat([model[name].flatten() for name in names]) for model in models))
    (group,) = document(two, "--by", "model")["groups"]
    found = group["pairs"][0]["conflict"]
    assert found["magnitude_change"] == pytest.approx(whole.magnitude_change_ratio)
    assert found["sign_change"] == pytest.approx(whole.sign_change_ratio)
    assert found["conflicting_magnitude_change"] == pytest.approx(whole.conflicting_magnitude_change_ratio)
    assert found["cosine"] == pytest.approx(whole.cosine)
    cosines = [record["conflict"]["cosine"] for record in done(two)]
    assert found["mean_cosine"] == pytest.approx(np.mean(cosines))
    assert found["mean_cosine"] != found["cosine"]


def test_shares_of_a_group_are_weighted_with_the_energy(two: str) -> None:
    groups = {group["kind"]: group for group in document(two, "--by", "kind")["groups"]}
    assert {kind: group["layers"] for kind, group in groups.items()} == {"q_proj": 2, "up_proj": 2}
    records = [record for record in done(two) if record["kind"] == "up_proj"]
    energies = [record["effect"]["task_energy"][1] for record in records]
    pair = groups["up_proj"]["pairs"][0]
    blocks = [record["blocks"]["none"] for record in records]
    assert pair["blocks"]["none"] == pytest.approx(np.average(blocks, weights=energies))
    assert sum(pair["blocks"].values()) == pytest.approx(1.0)
    assert pair["blocks"]["none"] != pytest.approx(np.mean(blocks), rel=1e-9)
    assert pair["angles"]["left"] == np.sum([record["angles"]["left"] for record in records], axis=0).tolist()
    assert sum(pair["angles_by_energy"]["left"]) == pytest.approx(1.0)
    knees = [record["knee"][0]["energy"] for record in records]
    norms = [record["norm"]["task_vectors"][0] ** 2 for record in records]
    assert groups["up_proj"]["knee_energy"][0] == pytest.approx(np.average(knees, weights=norms))


def test_the_model_suggests_an_eta(two: str) -> None:
    result = call("show", two, "--by", "model")
    (group,) = document(two, "--by", "model")["groups"]
    suggested = ",".join(f"{knee:.2f}" for knee in group["knee_energy"])
    assert f"suggest --eta {suggested}" in result.err


def test_what_if_adds_the_layers_up_and_holds_the_patterns_of_the_run(two: str) -> None:
    (total,) = document(two, "--what-if")["what_if"]
    assert total["eta"] == [[0.7, 0.8, 0.9, 0.95, 0.99]] * 2
    assert total["own_eta"] == [0.95, 0.8]
    run = Run.open(two)
    cells = sum(run.arrays(record["index"], ["what_if"])["what_if"] for record in done(two))
    assert total["count"] == cells[0].tolist()
    assert np.array(total["energy"]) == pytest.approx(cells[1])
    own = [total["count"][3][1][number] for number in range(7)]
    wanted = [sum(r["patterns"][name]["count"] for r in done(two)) for name in total["patterns"]]
    assert own == wanted
    table = call("show", two, "--what-if").out.splitlines()
    assert len(table) == 1 + 25
    (marked,) = [line for line in table if " * " in line]
    assert "0.95,0.8" in marked


def test_what_if_of_one_layer_and_per_kind(two: str) -> None:
    name = done(two)[0]["name"]
    (one,) = document(two, "--what-if", "--layer", name)["what_if"]
    assert (one["layers"], one["count"][3][1][0]) == (1, done(two)[0]["patterns"]["C1"]["count"])
    rows = list(csv.DictReader(io.StringIO(call("show", two, "--what-if", "--by", "kind", "--csv").out)))
    assert len(rows) == 2 * 25
    assert sum(int(row["count_A"]) for row in rows if row["eta_anchor"] == row["eta_task"] == "0.9") >= 0


def test_every_row_says_which_pair(three: str) -> None:
    found = document(three, "--by", "model")
    assert found["run"]["pairs"] == [[1, 2], [1, 3], [2, 1], [2, 3], [3, 1], [3, 2]]
    (group,) = found["groups"]
    assert [[pair["anchor"], pair["task"]] for pair in group["pairs"]] == found["run"]["pairs"]
    (only,) = document(three, "--by", "model", "--pair", "3,2")["groups"]
    assert [(pair["anchor"], pair["task"]) for pair in only["pairs"]] == [(3, 2)]
    assert " 3-2 " in call("show", three, "--by", "model", "--pair", "3-2").out
    assert "tasks 2, 3 against task 1" in call("show", three).out
    refused = call("show", three, "--pair", "1,4")
    assert refused.code == 2
    assert "this run compares 1,2 1,3" in refused.err


def test_matrices_over_all_fine_tunes(three: str) -> None:
    """Symmetric where the number is; unknown, not zero, where a run compares with its anchor alone."""
    (group,) = document(three, "--by", "model")["groups"]
    cosine = np.array(group["matrices"]["cosine"], dtype=float)
    assert cosine == pytest.approx(cosine.T, nan_ok=True)
    assert np.isnan(np.diag(cosine)).all()
    assert not np.isnan(cosine[~np.eye(3, dtype=bool)]).any()
    free = np.array(group["matrices"]["conflict_free"], dtype=float)
    assert free[0, 1] != pytest.approx(free[1, 0])
    assert np.diag(np.array(group["sum"]["influence"])) == pytest.approx(1.0)
    unions = {union["task"]: union["patterns"] for union in group["union"]}
    kept = sum(unions[2][name]["count"] for name in unions[2])
    assert kept == sum(pair["patterns"][name]["count"] for pair in group["pairs"][:1] for name in unions[2])


def test_a_group_has_a_row_for_each_task_against_all_others(three: str) -> None:
    (group,) = document(three, "--by", "model")["groups"]
    rows = [row for row in csv.DictReader(io.StringIO(call("show", three, "--by", "model", "--csv").out))]
    unions = {row["task"]: row for row in rows if row["anchor"] == "all"}
    assert sorted(unions) == ["1", "2", "3"]
    for union in group["union"]:
        row = unions[str(union["task"])]
        for name, cell in union["patterns"].items():
            assert float(row[f"patterns_{name}_share"]) == cell["share"]
    lines = call("show", three, "--by", "model").out.splitlines()
    assert [line.split()[2] for line in lines if " all-" in line] == ["all-1", "all-2", "all-3"]
    assert " all-" not in call("show", three, "--by", "model", "--pair", "3-2").out


def test_a_run_without_these_keys_is_still_shown(tmp_path: Path) -> None:
    """What an older version did not measure is a dash and null, never zero."""
    run = str(make_run(tmp_path))
    (group,) = document(run, "--by", "model")["groups"]
    pair = group["pairs"][0]
    assert (pair["anchor"], pair["task"], pair["conflict"], group["sum"]) == (1, 2, None, None)
    assert pair["patterns"]["A"]["count"] == 8
    assert call("show", run, "--by", "kind").code == 0
    what_if = call("show", run, "--what-if")
    assert what_if.code == 0
    assert "2 layers were analysed by an older version" in what_if.err
