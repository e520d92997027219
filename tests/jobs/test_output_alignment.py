"""The alignment of merged models of any method with the fine-tunes they were made of."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.output_alignment import output_alignment
from globa_tui.jobs.settings import SettingsError
from globa_tui.recipe import Recipe
from tests.cli.records import call
from tests.jobs.family import family
from tests.reference import alignmerge

UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged")
    base, tuned = family(folder, blocks=1)
    for name, method, params in (("sum", "task_arithmetic", {}), ("ties", "ties", {}), ("mean", "linear", {})):
        recipe = Recipe(base=str(base), fine_tuned=tuple(map(str, tuned)), method=method, params=params)
        run_merge(recipe, folder / name)
    return folder


@pytest.mark.parametrize("name", ["sum", "ties", "mean"])
def test_any_methods_result_is_equation_8(merged: Path, name: str) -> None:
    found = {layer["name"]: layer for layer in output_alignment(merged / name)["layers"]}[UP]
    weights = [load_file(merged / model / "model.safetensors")[UP].double() for model in ("base", "ft1", "ft2", name)]
    deltas = [weight.numpy() - weights[0].numpy() for weight in weights[1:]]
    wanted = alignmerge.full_coefficients(deltas[:2], deltas[2], "damped") - 1
    energies = np.linalg.svd(deltas[2])[1] ** 2
    assert found["directions"] == 16
    assert found["sai"] == pytest.approx(np.average(wanted, axis=1, weights=energies), rel=1e-3, abs=1e-4)
    assert found["sai_first"] == pytest.approx(wanted[:, 0], rel=1e-3, abs=1e-4)


def test_half_the_sum_has_half_its_coefficients(merged: Path) -> None:
    means = {name: np.array(output_alignment(merged / name)["model"]["sai"]) for name in ("sum", "mean")}
    assert means["mean"] + 1 == pytest.approx(0.5 * (means["sum"] + 1), rel=1e-3)


def test_the_command_prints_it(merged: Path) -> None:
    result = call("check", str(merged / "ties"), "--alignment", "--json")
    assert result.code == 0, result.err
    layers = json.loads(result.out)["alignment"]["layers"]
    assert UP in {layer["name"] for layer in layers}
    table = call("check", str(merged / "ties"), "--alignment").out
    assert f"{len(layers)} matrices, energy-weighted" in table


def test_sources_that_are_not_known_are_asked_for(merged: Path) -> None:
    with pytest.raises(SettingsError, match="--against BASE"):
        output_alignment(merged / "ft1")
