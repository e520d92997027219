"""Merging a run with stored factors on a machine that has the base and not the fine-tunes."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.recipe import Recipe
from store.errors import CheckpointError, RunForeignError
from store.run import pack
from tests.jobs.family import family, tensors
from tests.store.make import single


def packed(folder: Path, **settings: object) -> Path:
    """A packed run of a base and two fine-tunes; the base holds a negative zero in a norm."""
    base, fine_tuned = family(folder)
    values = load_file(base / "model.safetensors")
    values["model.norm.weight"][0] = -0.0
    single(base, values, {"architectures": ["LlamaForCausalLM"]})
    run = folder / "run.globa"
    run_analysis(AnalysisRequest(str(base), tuple(map(str, fine_tuned)), run, AnalysisSettings(**settings)))
    pack(run, folder / "run.h5")
    shutil.rmtree(run)
    return folder / "run.h5"


def lose_fine_tunes(folder: Path) -> None:
    for name in ("ft1", "ft2"):
        shutil.rmtree(folder / name)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_bytes_are_those_of_a_merge_with_the_fine_tunes_there(tmp_path):
    run = packed(tmp_path, exclude=("k_proj",))
    recipe = Recipe(run=str(run), skip_weights=(0.0, 0.0))
    run_merge(recipe, tmp_path / "there")
    lose_fine_tunes(tmp_path)
    shutil.move(tmp_path / "base", tmp_path / "moved")
    moved = dataclasses.replace(recipe, base=str(tmp_path / "moved"))
    result = run_merge(moved, tmp_path / "gone", MergeOptions(check=True))
    assert weights(tmp_path / "gone") == weights(tmp_path / "there")
    assert result.check is not None
    assert not result.check.failed
    base, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("moved", "gone"))
    for name, weight in base.items():
        kept = "norm" in name or "k_proj" in name
        assert torch.equal(weight.view(torch.int32), merged[name].view(torch.int32)) == kept, name


def test_its_recipe_makes_it_again_and_its_card_names_the_fine_tunes(tmp_path):
    run = packed(tmp_path)
    lose_fine_tunes(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    run_merge(Recipe(run=str(run), skip_weights=(0.0,)), tmp_path / "out")
    run_merge(Recipe.read(tmp_path / "out" / "globa_recipe.yaml"), tmp_path / "again")
    files = [{path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("out", "again")]
    assert files[0] == files[1]
    card = files[0]["README.md"].decode()
    assert "from a base and 2 fine-tunes" in card
    assert "| fine-tune 2 | `ft2` | none found |" in card


def test_what_needs_the_fine_tunes_says_which_is_missing_and_what_to_do(tmp_path):
    run = packed(tmp_path)
    shutil.rmtree(tmp_path / "ft2")
    with pytest.raises(CheckpointError) as caught:
        run_merge(Recipe(run=str(run)), tmp_path / "out")
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'ft2'}: a fine-tune of {run} is not there; say where with --base and")
    assert "--skip-weights 0" in line
    assert "\n" not in line
    with pytest.raises(CheckpointError, match=r"ft2: .*\(ties works on the weights of the fine-tunes\)"):
        run_merge(Recipe(run=str(run), method="ties", skip_weights=(0.0,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_factors_needs_them(tmp_path):
    run = packed(tmp_path, factors=False)
    lose_fine_tunes(tmp_path)
    with pytest.raises(CheckpointError, match=r"ft1: .* is not there \(nor 1 more\).*the run keeps no factors"):
        run_merge(Recipe(run=str(run), skip_weights=(0.0,)), tmp_path / "out")


@pytest.mark.parametrize(("blocks", "cure"), [(2, "is not the file that"), (1, "say with --base where")])
def test_another_base_is_refused(tmp_path, blocks, cure):
    run = packed(tmp_path)
    lose_fine_tunes(tmp_path)
    other = single(tmp_path / "other", {name: one.double() for name, one in tensors(blocks, seed=9).items()})
    with pytest.raises(RunForeignError, match=cure):
        run_merge(Recipe(run=str(run), base=str(other), skip_weights=(0.0,)), tmp_path / "out")


def test_vocabularies_that_differ_need_them(tmp_path):
    base, fine_tuned = family(tmp_path)
    larger = load_file(fine_tuned[1] / "model.safetensors")
    rows = larger["model.embed_tokens.weight"]
    larger["model.embed_tokens.weight"] = torch.cat([rows, rows[:2]])
    single(fine_tuned[1], larger)
    run_analysis(AnalysisRequest(str(base), tuple(map(str, fine_tuned)), tmp_path / "run.globa", AnalysisSettings()))
    lose_fine_tunes(tmp_path)
    with pytest.raises(CheckpointError, match="their vocabularies differ"):
        run_merge(Recipe(run=str(tmp_path / "run.globa"), skip_weights=(0.0,)), tmp_path / "out")
