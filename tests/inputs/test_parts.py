"""Tensors that are read and merged in small parts, of every sort of input, become the same as whole ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.merge_layers import layer_memory, make_merger
from globa_tui.recipe import Recipe
from store.checkpoints import build_index, open_checkpoint
from tests.inputs.matrix import INPUTS
from tests.jobs.family import family


@pytest.mark.parametrize("kind", ["LoRA pair", "tied", "sharded", "vocabulary differs", "experts"])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_parts_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, method: str) -> None:
    base, fine_tuned = INPUTS[kind](tmp_path)
    vocab = "union" if kind == "vocabulary differs" else None
    params = {"variant": "mergekit", "density": 0.3} if method == "ties" else {}
    recipe = Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), method=method, params=params, vocab=vocab)
    run_merge(recipe, tmp_path / "in-one")
    # No row of any tensor is a multiple of it.
    monkeypatch.setattr("globa_tui.jobs.weights.BLOCK", 50)
    monkeypatch.setattr("globa_tui.jobs.weights.PIECE", 150)
    run_merge(recipe, tmp_path / "in-parts")
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("in-one", "in-parts"))
    for name, weight in whole.items():
        # A product of factors is rounded otherwise when it has fewer rows.
        apart = 1e-7 if kind == "LoRA pair" else 0.0
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=apart)


def test_only_decompositions_take_memory_that_grows_with_the_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("globa_tui.jobs.merge_layers.BLOCK", 10)
    monkeypatch.setattr("globa_tui.jobs.merge_layers.PIECE", 15)
    base, fine_tuned = family(tmp_path)
    index = build_index(open_checkpoint(str(base)), [open_checkpoint(str(path)) for path in fine_tuned])

    def needs(method: str) -> set[int]:
        recipe = Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), method=method)
        merger = make_merger(recipe, index, None, torch.device("cpu"))
        return {layer_memory(merger.way(layer), layer, 2) for layer in index.layers}

    needed = [needs(method) for method in ("linear", "ties", "dare_ties", "slerp", "tsv_m")]
    small = 4 * 10 * 8 + 2 * 15 * 3 * 4
    assert needed[0] == needed[1] == needed[2] == needed[3] == {small}
    assert max(needed[4]) > small
