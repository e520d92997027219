"""Tall matrices merged by GLOBA from passes over their rows, of every sort of input, become what an analysis makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis.errors import NotFiniteError
from analysis.merge import globa_by_rows
from analysis.merge.globa import PATTERNS
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.drift import Drift
from globa_tui.jobs.layer_merger import Way
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.merge_layers import layer_memory, make_merger
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.jobs.weights import LayerWeights
from globa_tui.recipe import Recipe
from store.checkpoints import Layer, build_index, open_checkpoint
from tests.inputs.matrix import INPUTS, Family
from tests.jobs.family import family
from tests.store.make import single

EMBEDDING = "model.embed_tokens.weight"


def recipe_of(models: Family, **changes: object) -> Recipe:
    base, fine_tuned = models
    return Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), **changes)


def tall(folder: Path, rows: int = 400) -> Family:
    """A base and two fine-tunes with an embedding of 400×16, whose matrices else are not tall."""
    paths = []
    base, fine_tuned = family(folder / "narrow")
    for number, path in enumerate((base, *fine_tuned)):
        embedding = torch.randn(rows, 16, generator=torch.Generator().manual_seed(7))
        embedding += 0.01 * torch.randn(rows, 16, generator=torch.Generator().manual_seed(number))
        paths.append(single(folder / path.name, load_file(path / "model.safetensors") | {EMBEDDING: embedding}))
    return paths[0], paths[1:]


def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Tensor] | None]:
    """What every attempt to merge by rows gives from now on."""
    found: list[list[torch.Tensor] | None] = []
    mixtures = globa_by_rows.mixtures

    def kept(*values: object) -> list[torch.Tensor] | None:
        found.append(mixtures(*values))
        return found[-1]

    monkeypatch.setattr(globa_by_rows, "mixtures", kept)
    return found


def numbers(drift: Drift) -> list[float]:
    return [drift.base, drift.merged, drift.change, *drift.task_vectors]


def merged(recipe: Recipe, out: Path, **options: bool) -> dict[str, torch.Tensor]:
    run_merge(recipe, out, MergeOptions(**options))
    return load_file(out / "model.safetensors")


def without_a_tensor(folder: Path) -> Family:
    """One fine-tune lacks a matrix, which counts as unchanged."""
    base, fine_tuned = family(folder)
    weights = load_file(fine_tuned[0] / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, fine_tuned[0] / "model.safetensors")
    return base, fine_tuned


def tall_experts(folder: Path) -> Family:
    """A stack of three matrices of 24×8, one of which is merged at a time."""
    name = "model.layers.0.mlp.experts.up_proj"
    stacks = [torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    moved = [stacks[0], *(stacks[0] + 0.01 * stack for stack in stacks[1:])]
    base, fine_tuned = family(folder / "others")
    paths = [
        single(folder / path.name, load_file(path / "model.safetensors") | {name: stack})
        for path, stack in zip((base, *fine_tuned), moved, strict=True)
    ]
    return paths[0], paths[1:]


KINDS = {
    **{kind: INPUTS[kind] for kind in ("LoRA pair", "tied", "sharded", "vocabulary differs", "three fine-tunes")},
    **{kind: INPUTS[kind] for kind in ("fp16", "bf16", "fp8")},
    "float64": lambda folder: family(folder, dtype=torch.float64),
    "without a tensor": without_a_tensor,
    "tall experts": tall_experts,
}
ROUNDED = {"fp16": 2e-4, "bf16": 2e-3, "fp8": 0.3}


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_that_of_the_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    models = KINDS[kind](tmp_path / "models")
    recipe = recipe_of(models, vocab="union" if kind == "vocabulary differs" else None)
    whole = run_merge(recipe, tmp_path / "whole")
    found = seen(monkeypatch)
    monkeypatch.setattr(globa_by_rows, "TALL", 1)
    # Rows come some at a time.
    monkeypatch.setattr("globa_tui.jobs.weights.PIECE", 100)
    by_rows = run_merge(recipe, tmp_path / "by-rows")
    # Factors are cheaper analysed.
    assert bool(found) == (kind != "LoRA pair")
    assert None not in found
    for name, drift in whole.drift.items():
        assert numbers(by_rows.drift[name]) == pytest.approx(numbers(drift), rel=1e-3, abs=1e-6), name
    tensors = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "by-rows"))
    for (name, weight), other in zip(next(tensors).items(), next(tensors).values(), strict=True):
        torch.testing.assert_close(other.double(), weight.double(), rtol=0, atol=ROUNDED.get(kind, 2e-6), msg=name)


def test_a_tall_embedding_is_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tall(tmp_path)
    recipe = recipe_of(models)
    read = LayerWeights.read

    def refused(weights: LayerWeights, layer: Layer) -> object:
        assert layer.name != EMBEDDING
        return read(weights, layer)

    monkeypatch.setattr(LayerWeights, "read", refused)
    merged(recipe, tmp_path / "out")
    index = build_index(open_checkpoint(str(models[0])), [open_checkpoint(str(path)) for path in models[1]])
    merger = make_merger(recipe, index, None, torch.device("cpu"))
    ways = {layer.name: merger.way(layer) for layer in index.layers}
    assert [name for name, way in ways.items() if way is Way.ROWS] == [EMBEDDING]
    assert ways["model.layers.0.mlp.up_proj.weight"] is Way.WHOLE
    assert ways["model.norm.weight"] is Way.PARTS
    layer = index.layers[list(ways).index(EMBEDDING)]
    small, large = (layer_memory(Way.ROWS, replace(layer, shape=(rows, 16)), 2) for rows in (10**5, 10**7))
    assert small == large


def test_stored_factors_are_taken_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, fine_tuned = tall(tmp_path)
    found = seen(monkeypatch)
    for factors in (True, False):
        run = tmp_path / f"{factors}.globa"
        run_analysis(AnalysisRequest(str(base), tuple(map(str, fine_tuned)), run, AnalysisSettings(factors=factors)))
        merged(Recipe(run=str(run)), tmp_path / f"{factors}")
        assert len(found) == (0 if factors else 1)


def test_what_is_not_finite_is_said_with_file_and_tensor(tmp_path: Path) -> None:
    models = tall(tmp_path)
    weights = load_file(models[1][1] / "model.safetensors")
    weights[EMBEDDING][399, 15] = float("nan")
    save_file(weights, models[1][1] / "model.safetensors")
    with pytest.raises(NotFiniteError, match=rf"ft2.*: tensor {EMBEDDING} holds 1 NaN or infinite entries of 6400"):
        merged(recipe_of(models), tmp_path / "out")


@pytest.mark.parametrize("name", [EMBEDDING, "model.layers.0.mlp.up_proj.weight"])
def test_what_is_not_finite_is_averaged_where_it_may_pass(tmp_path: Path, name: str) -> None:
    models = tall(tmp_path)
    weights = load_file(models[1][1] / "model.safetensors")
    weights[name][3, 5] = float("nan")
    save_file(weights, models[1][1] / "model.safetensors")
    recipe = recipe_of(models)
    result = run_merge(recipe, tmp_path / "out", MergeOptions(allow_failed=True))
    assert result.passed_through == (name,)
    base, first, second = (load_file(path / "model.safetensors")[name] for path in (models[0], *models[1]))
    one, two = recipe.skip_weights_for(2)
    found = load_file(tmp_path / "out" / "model.safetensors")[name]
    wanted = base + one * (first - base) + two * (second - base)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6, equal_nan=True)
    assert int(found.isnan().sum()) == 1


@pytest.mark.parametrize("name", [EMBEDDING, "model.layers.0.mlp.up_proj.weight"])
def test_a_task_vector_that_overflows_is_not_averaged_without_a_word(tmp_path: Path, name: str) -> None:
    models = tall(tmp_path)
    for path, value in ((models[0], -3e38), (models[1][1], 3e38)):
        weights = load_file(path / "model.safetensors")
        weights[name][3, 5] = value
        save_file(weights, path / "model.safetensors")
    with pytest.raises(NotFiniteError, match=r"the task vector overflows torch.float32; use precision float64"):
        merged(recipe_of(models), tmp_path / "out")


def test_what_squares_do_not_hold_is_analysed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change whose singular values span seven decades, all of them kept."""
    models = tall(tmp_path)
    weights = load_file(models[0] / "model.safetensors")
    values = torch.logspace(0, -6, 16, dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(side, 16, dtype=torch.float64))[0] for side in (400, 16))
    moved = weights[EMBEDDING].double() + (left * values) @ right.T
    for path in models[1]:
        save_file(weights | {EMBEDDING: moved.float()}, path / "model.safetensors")
    settings = {"svd_energy": [1.0, 1.0], "eta": [1.0, 1.0], "basis_energy": 1.0}
    recipe = recipe_of(models, settings=settings, coefficients=dict.fromkeys(PATTERNS, 1.0))
    found = seen(monkeypatch)
    wanted = weights[EMBEDDING] + 2 * (moved.float() - weights[EMBEDDING])
    torch.testing.assert_close(merged(recipe, tmp_path / "out")[EMBEDDING], wanted, rtol=0, atol=2e-6)
    assert found == [None]
