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
from globa_tui.jobs.layer_merger import Way
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.merge_layers import layer_memory, make_merger
from globa_tui.recipe import Recipe
from store.checkpoints import build_index, open_checkpoint
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


def merged(recipe: Recipe, out: Path, **options: bool) -> dict[str, torch.Tensor]:
    run_merge(recipe, out, MergeOptions(**options))
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("kind", ["LoRA pair", "tied", "sharded", "vocabulary differs", "experts", "three fine-tunes"])
def test_the_result_is_that_of_the_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    models = INPUTS[kind](tmp_path / "models")
    recipe = recipe_of(models, vocab="union" if kind == "vocabulary differs" else None)
    ways: list[Way] = []
    whole = merged(recipe, tmp_path / "whole")
    mixtures = globa_by_rows.mixtures

    def counted(*values: object) -> list[torch.Tensor] | None:
        ways.append(Way.ROWS)
        return mixtures(*values)

    monkeypatch.setattr(globa_by_rows, "mixtures", counted)
    monkeypatch.setattr(globa_by_rows, "TALL", 1)
    # Rows come some at a time.
    monkeypatch.setattr("globa_tui.jobs.weights.PIECE", 100)
    by_rows = merged(recipe, tmp_path / "by-rows")
    # Factors are cheaper analysed; the embedding is no change of theirs.
    assert bool(ways) == (kind != "LoRA pair")
    for name, weight in whole.items():
        torch.testing.assert_close(by_rows[name], weight, rtol=0, atol=2e-6)


def test_a_tall_embedding_is_never_held(tmp_path: Path) -> None:
    models = tall(tmp_path)
    recipe = recipe_of(models)
    index = build_index(open_checkpoint(str(models[0])), [open_checkpoint(str(path)) for path in models[1]])
    merger = make_merger(recipe, index, None, torch.device("cpu"))
    ways = {layer.name: merger.way(layer) for layer in index.layers}
    assert [name for name, way in ways.items() if way is Way.ROWS] == [EMBEDDING]
    assert ways["model.layers.0.mlp.up_proj.weight"] is Way.WHOLE
    assert ways["model.norm.weight"] is Way.PARTS
    layer = index.layers[list(ways).index(EMBEDDING)]
    small, large = (layer_memory(Way.ROWS, replace(layer, shape=(rows, 16)), 2) for rows in (10**5, 10**7))
    assert small == large


def test_what_is_not_finite_is_said_with_file_and_tensor(tmp_path: Path) -> None:
    models = tall(tmp_path)
    weights = load_file(models[1][1] / "model.safetensors")
    weights[EMBEDDING][399, 15] = float("nan")
    save_file(weights, models[1][1] / "model.safetensors")
    with pytest.raises(NotFiniteError, match=rf"ft2.*: tensor {EMBEDDING} holds 1 NaN or infinite entries of 6400"):
        merged(recipe_of(models), tmp_path / "out")


def test_what_squares_do_not_hold_is_analysed_whole(tmp_path: Path) -> None:
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
    wanted = weights[EMBEDDING] + 2 * (moved.float() - weights[EMBEDDING])
    torch.testing.assert_close(merged(recipe, tmp_path / "out")[EMBEDDING], wanted, rtol=0, atol=2e-6)
