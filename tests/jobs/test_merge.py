"""Merges of whole checkpoints: the numbers, the folder, and what they refuse."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from analysis.errors import NotFiniteError
from globa_tui.engine import local
from globa_tui.engine.local import LocalWorker
from globa_tui.jobs import client
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, EngineChoice
from globa_tui.presets import merge_preset
from globa_tui.recipe import Recipe, RecipeError, parse_coef
from store.errors import CheckpointError, OutputExistsError, RunForeignError, RunIncompleteError, StoreError
from store.run import Run, pack
from tests.jobs.family import family, tensors, tuned
from tests.store.make import single

ALL = merge_preset("all").coefficients
EVERYTHING = {"svd_energy": (1.0,), "eta": (1.0,), "basis_energy": 1.0}


def analysis(folder: Path, dtype: torch.dtype = torch.float32, tasks: int = 2, **settings: object) -> AnalysisRequest:
    base, fine_tuned = family(folder, tasks=tasks, dtype=dtype)
    asked = AnalysisRequest(str(base), tuple(map(str, fine_tuned)), folder / "run.globa", AnalysisSettings(**settings))
    run_analysis(asked)
    return asked


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def is_matrix(name: str) -> bool:
    return "norm" not in name


@pytest.mark.parametrize("basis", ["canonical", "anchored", "lapack"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_everything_kept_is_base_plus_both_task_vectors(tmp_path, basis, dtype):
    asked = analysis(tmp_path, dtype, basis=basis, **EVERYTHING)
    run_merge(Recipe(run=str(asked.store), coefficients=ALL, skip_weights=(1.0,)), tmp_path / "out")
    base, one, two = (weights(tmp_path / name) for name in ("base", "ft1", "ft2"))
    for name, merged in weights(tmp_path / "out").items():
        wanted = one[name].double() + two[name].double() - base[name].double()
        assert merged.dtype == dtype
        error = (merged.double() - wanted).abs().max() / wanted.abs().max()
        assert float(error) <= torch.finfo(dtype).eps, name


def test_from_a_run_and_from_checkpoints_agree(tmp_path):
    asked = analysis(tmp_path)
    run_merge(Recipe(run=str(asked.store)), tmp_path / "stored")
    run_merge(Recipe(base=asked.base, fine_tuned=asked.fine_tuned), tmp_path / "scratch")
    stored, scratch = weights(tmp_path / "stored"), weights(tmp_path / "scratch")
    for name, weight in stored.items():
        torch.testing.assert_close(weight, scratch[name], rtol=0, atol=1e-6 * float(weight.abs().max()))


def test_a_run_without_factors_and_a_packed_run_merge_too(tmp_path):
    asked = analysis(tmp_path, factors=False)
    run_merge(Recipe(run=str(asked.store)), tmp_path / "out")
    run_merge(Recipe(base=asked.base, fine_tuned=asked.fine_tuned), tmp_path / "scratch")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "scratch/model.safetensors").read_bytes()
    pack(asked.store, tmp_path / "run.h5")
    run_merge(Recipe(run=str(tmp_path / "run.h5")), tmp_path / "packed")
    assert (tmp_path / "packed/model.safetensors").read_bytes() == (tmp_path / "out/model.safetensors").read_bytes()


def test_a_recipe_knows_the_run_it_was_made_with(tmp_path):
    """The same sources, settings and versions may be analysed again; other settings are another run."""
    asked = analysis(tmp_path, svd_energy=(0.5,))
    run_merge(Recipe(run=str(asked.store)), tmp_path / "out")
    recipe = Recipe.read(tmp_path / "out" / "globa_recipe.yaml")
    assert recipe.run_hash is not None
    pack(asked.store, tmp_path / "run.h5")
    run_merge(dataclasses.replace(recipe, run=str(tmp_path / "run.h5")), tmp_path / "packed")
    run_analysis(dataclasses.replace(asked, fresh=True))
    run_merge(recipe, tmp_path / "again")
    assert weights(tmp_path / "again").keys() == weights(tmp_path / "packed").keys()
    run_analysis(dataclasses.replace(asked, fresh=True, settings=AnalysisSettings(svd_energy=(0.6,))))
    with pytest.raises(RecipeError, match="is another analysis than the recipe was made with"):
        run_merge(recipe, tmp_path / "other")
    run_merge(dataclasses.replace(recipe, run_hash=None), tmp_path / "other")


def test_a_merge_is_never_written_into_a_run(tmp_path):
    asked = analysis(tmp_path)
    recipe = Recipe(base=asked.base, fine_tuned=asked.fine_tuned, method="linear")
    for out in (asked.store / "merged", asked.store / "layers" / "merged"):
        with pytest.raises(OutputExistsError, match=r"lies inside the run .*run\.globa; choose an output folder"):
            run_merge(recipe, out)
        assert not out.exists()


def test_merging_twice_and_by_its_own_recipe_gives_the_same_bytes(tmp_path):
    asked = analysis(tmp_path, torch.bfloat16)
    recipe = Recipe(run=str(asked.store)).with_override(parse_coef("mlp:D-=0.5,A=1"))
    for out in ("one", "two"):
        run_merge(recipe, tmp_path / out)
    run_merge(Recipe.read(tmp_path / "one" / "globa_recipe.yaml"), tmp_path / "three")
    files = {out: {p.name: p.read_bytes() for p in (tmp_path / out).iterdir()} for out in ("one", "two", "three")}
    assert files["one"] == files["two"] == files["three"]
    assert set(files["one"]) == {"model.safetensors", "config.json", "globa_recipe.yaml", "README.md"}


def test_overrides_reach_their_layers_only(tmp_path):
    asked = analysis(tmp_path)
    plain = Recipe(run=str(asked.store), coefficients=ALL)
    run_merge(plain, tmp_path / "plain")
    changed = plain.with_override(parse_coef("blocks 1-1:C1=0,A=0,B=0,C=0,D+=0,D-=0,E=0"))
    run_merge(changed.with_override(parse_coef("layer model.layers.1.mlp.up_proj.weight:C1=1")), tmp_path / "changed")
    base, before, after = (weights(tmp_path / name) for name in ("base", "plain", "changed"))
    for name in filter(is_matrix, base):
        if "layers.1." not in name:
            assert torch.equal(before[name], after[name]), name
        elif "up_proj" not in name:
            assert torch.equal(after[name], base[name]), name
        else:
            assert not torch.equal(after[name], base[name])
            assert not torch.equal(after[name], before[name])


def test_vectors_follow_the_skip_weights(tmp_path):
    asked = analysis(tmp_path)
    base, one, two = (weights(tmp_path / name) for name in ("base", "ft1", "ft2"))
    for given, (first, second) in (((), (0.5, 0.5)), ((1.0, 0.25), (1.0, 0.25)), ((0.3,), (0.3, 0.3))):
        out = tmp_path / f"out{len(given)}{first}"
        run_merge(Recipe(run=str(asked.store), skip_weights=given), out)
        for name in base:
            if not is_matrix(name):
                wanted = base[name] + first * (one[name] - base[name]) + second * (two[name] - base[name])
                torch.testing.assert_close(weights(out)[name], wanted, rtol=1e-6, atol=1e-7)


def test_task_arithmetic_is_the_sum_and_linear_the_mean(tmp_path):
    base_path, tuned_paths = family(tmp_path)
    sources = {"base": str(base_path), "fine_tuned": tuple(map(str, tuned_paths))}
    run_merge(Recipe(**sources, method="task_arithmetic"), tmp_path / "sum")
    run_merge(Recipe(**sources, method="linear"), tmp_path / "mean")
    base, one, two = (weights(tmp_path / name) for name in ("base", "ft1", "ft2"))
    for name in base:
        torch.testing.assert_close(weights(tmp_path / "sum")[name], one[name] + two[name] - base[name])
        torch.testing.assert_close(weights(tmp_path / "mean")[name], (one[name] + two[name]) / 2)


@pytest.mark.parametrize("method", ["task_arithmetic", "dare_ties", "iso_c"])
def test_threads_take_a_tensor_each_where_it_goes_entry_by_entry(tmp_path, monkeypatch, method):
    base_path, tuned_paths = family(tmp_path)
    workers = []
    monkeypatch.setattr(local, "LocalWorker", lambda *given: workers.append(given) or LocalWorker(*given))
    recipe, written = Recipe(base=str(base_path), fine_tuned=tuple(map(str, tuned_paths)), method=method), []
    for threads in (1, 3):
        workers.clear()
        out = tmp_path / f"out{threads}"
        run_merge(recipe, out, MergeOptions(engine=EngineChoice(threads=threads)))
        written.append((out / "model.safetensors").read_bytes())
    # MKL sums in another order with other numbers of threads; what goes entry by entry has nothing to sum.
    assert (written[0] == written[1]) or method == "iso_c"
    assert [given[2] for given in workers][-3:] == ([3] if method == "iso_c" else [1, 1, 1])


def test_another_dtype_stands_in_the_config_too(tmp_path):
    asked = analysis(tmp_path)
    run_merge(Recipe(run=str(asked.store), dtype="bfloat16"), tmp_path / "out")
    assert {weight.dtype for weight in weights(tmp_path / "out").values()} == {torch.bfloat16}
    assert '"torch_dtype": "bfloat16"' in (tmp_path / "out" / "config.json").read_text()


def test_shards_and_their_index(tmp_path):
    asked = analysis(tmp_path)
    run_merge(Recipe(run=str(asked.store), shard_size=4000), tmp_path / "out")
    run_merge(Recipe(run=str(asked.store)), tmp_path / "whole")
    shards = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert len(shards) > 2
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    together = {name: weight for shard in shards for name, weight in load_file(shard).items()}
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(together[name], weight)


def test_an_unfinished_or_failed_analysis_is_refused(tmp_path):
    asked = analysis(tmp_path)
    summary = asked.store / "summary.jsonl"
    lines = summary.read_text().splitlines(keepends=True)
    victim = next(line for line in lines if '"status":"done"' in line)
    summary.write_text("".join(line for line in lines if line != victim))
    with pytest.raises(RunIncompleteError, match=r"1 layers are not analysed yet.*resume"):
        run_merge(Recipe(run=str(asked.store)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nan_is_refused_unless_it_may_pass(tmp_path):
    base = tensors()
    broken = tuned(base, 1)
    broken["model.layers.0.mlp.up_proj.weight"][2, 3] = float("nan")
    paths = [str(single(tmp_path / n, w)) for n, w in (("base", base), ("ft1", broken), ("ft2", tuned(base, 2)))]
    asked = AnalysisRequest(paths[0], (paths[1], paths[2]), tmp_path / "run.globa")
    run_analysis(asked)
    with pytest.raises(RunIncompleteError, match=r"analysis of 1 layers failed.*up_proj.*--allow-failed"):
        run_merge(Recipe(run=str(asked.store)), tmp_path / "out")
    with pytest.raises(NotFiniteError, match=r"ft1: tensor \S+up_proj.weight holds 1 NaN.*--allow-failed"):
        run_merge(Recipe(base=paths[0], fine_tuned=(paths[1], paths[2]), method="linear"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = run_merge(Recipe(run=str(asked.store)), tmp_path / "out", MergeOptions(allow_failed=True))
    assert result.passed_through == ("model.layers.0.mlp.up_proj.weight",)
    assert int(weights(tmp_path / "out")["model.layers.0.mlp.up_proj.weight"].isnan().sum()) == 1


def test_sources_that_changed_since_the_analysis_are_refused(tmp_path):
    asked = analysis(tmp_path)
    single(Path(asked.fine_tuned[0]), {name: w.half() for name, w in weights(tmp_path / "ft1").items()})
    with pytest.raises(RunForeignError, match=r"ft1.*is not the file that"):
        run_merge(Recipe(run=str(asked.store)), tmp_path / "out")


def test_an_output_that_is_there_stays_unless_overwritten(tmp_path):
    asked = analysis(tmp_path)
    recipe = Recipe(run=str(asked.store))
    run_merge(recipe, tmp_path / "out")
    before = (tmp_path / "out/model.safetensors").read_bytes()
    with pytest.raises(OutputExistsError):
        run_merge(recipe.with_override(parse_coef("mlp:E=0")), tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == before
    run_merge(recipe.with_override(parse_coef("mlp:E=0")), tmp_path / "out", MergeOptions(overwrite=True))
    assert (tmp_path / "out/model.safetensors").read_bytes() != before


def test_misspelt_overrides_are_reported(tmp_path):
    asked = analysis(tmp_path)
    result = run_merge(Recipe(run=str(asked.store)).with_override(parse_coef("blocks 7-9:A=1")), tmp_path / "out")
    assert result.unmatched == ("blocks 7-9",) or "blocks 7-9" in result.unmatched[0]


def test_tied_weights_stay_equal(tmp_path):
    base = tensors()
    base["lm_head.weight"] = base["model.embed_tokens.weight"].clone()
    config = {"tie_word_embeddings": True}
    models = [base, *(tuned({k: v for k, v in base.items() if k != "lm_head.weight"}, n) for n in (1, 2))]
    for model in models[1:]:
        model["lm_head.weight"] = model["model.embed_tokens.weight"].clone()
    paths = [str(single(tmp_path / f"m{n}", model, config)) for n, model in enumerate(models)]
    run_analysis(AnalysisRequest(paths[0], tuple(paths[1:]), tmp_path / "run.globa"))
    run_merge(Recipe(run=str(tmp_path / "run.globa")), tmp_path / "out")
    merged = weights(tmp_path / "out")
    assert torch.equal(merged["lm_head.weight"], merged["model.embed_tokens.weight"])
    assert not torch.equal(merged["lm_head.weight"], base["lm_head.weight"])


def test_integers_and_other_shapes_are_carried_over(tmp_path):
    base = tensors() | {"model.position_ids": torch.arange(8), "model.conv.weight": torch.randn(3, 2, 2)}
    extra = {"model.position_ids": torch.arange(8), "model.conv.weight": base["model.conv.weight"] + 1.0}
    models = [base, *(tuned({k: base[k] for k in tensors()}, n) | extra for n in (1, 2))]
    paths = [str(single(tmp_path / f"m{n}", model)) for n, model in enumerate(models)]
    run_merge(Recipe(base=paths[0], fine_tuned=tuple(paths[1:])), tmp_path / "out")
    merged = weights(tmp_path / "out")
    assert torch.equal(merged["model.position_ids"], torch.arange(8))
    torch.testing.assert_close(merged["model.conv.weight"], base["model.conv.weight"] + 1.0)


def test_the_detached_job_writes_the_same_model(tmp_path):
    asked = analysis(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(Recipe(run=str(asked.store)).to_yaml())
    argv = ["--run", str(asked.store), "--recipe", str(recipe), "-o", str(tmp_path / "out")]
    process = client.start("merge", argv, asked.store)
    client.wait_started(process, asked.store, "merge")
    status = client.wait_ended(asked.store, "merge", timeout=120)
    assert process.wait(30) == 0
    assert status is not None
    assert (status.state, status.output) == ("complete", str(tmp_path / "out"))
    run_merge(Recipe(run=str(asked.store)), tmp_path / "here")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "here/model.safetensors").read_bytes()


def test_a_run_knows_its_sources_after_moving(tmp_path):
    asked = analysis(tmp_path)
    moved = asked.store.rename(tmp_path / "elsewhere.globa")
    run_merge(Recipe(run=str(moved)), tmp_path / "out")
    assert len(Run.open(moved).records()) == len(weights(tmp_path / "out"))


def test_the_tokenizer_may_come_from_a_fine_tune(tmp_path):
    asked = analysis(tmp_path)
    for model in ("base", "ft2"):
        (tmp_path / model / "tokenizer.json").write_text(f'{{"of": "{model}"}}')
        (tmp_path / model / "generation_config.json").write_text(f'{{"of": "{model}"}}')
    run_merge(Recipe(run=str(asked.store)), tmp_path / "plain")
    run_merge(Recipe(run=str(asked.store), tokenizer_from=str(tmp_path / "ft2")), tmp_path / "other")
    assert "base" in (tmp_path / "plain/tokenizer.json").read_text()
    assert "ft2" in (tmp_path / "other/tokenizer.json").read_text()
    assert "base" in (tmp_path / "other/generation_config.json").read_text()


def test_sources_that_moved_are_named_anew(tmp_path):
    asked = analysis(tmp_path)
    run_merge(Recipe(run=str(asked.store)), tmp_path / "before")
    for name in ("base", "ft1", "ft2"):
        (tmp_path / name).rename(tmp_path / f"moved-{name}")
    with pytest.raises(CheckpointError):
        run_merge(Recipe(run=str(asked.store)), tmp_path / "after")
    places = {"base": str(tmp_path / "moved-base"), "fine_tuned": tuple(str(tmp_path / f"moved-ft{n}") for n in (1, 2))}
    run_merge(Recipe(run=str(asked.store), **places), tmp_path / "after")
    before, after = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("before", "after"))
    assert before == after
    again = Recipe.read(tmp_path / "after" / "globa_recipe.yaml")
    assert (again.base, again.fine_tuned) == (places["base"], places["fine_tuned"])


def test_a_source_that_was_written_anew_at_its_place_is_refused(tmp_path):
    asked = analysis(tmp_path)
    file = Path(asked.fine_tuned[0]) / "model.safetensors"
    file.write_bytes(file.read_bytes())
    with pytest.raises(RunForeignError, match="written since"):
        run_merge(Recipe(run=str(asked.store)), tmp_path / "out")


def test_the_source_of_the_tokenizer_is_not_replaced(tmp_path):
    asked = analysis(tmp_path)
    other = single(tmp_path / "other", tensors(), {})
    (other / "tokenizer.json").write_text("{}")
    before = (other / "model.safetensors").read_bytes()
    recipe = Recipe(run=str(asked.store), tokenizer_from=str(other))
    with pytest.raises(StoreError):
        run_merge(recipe, other, MergeOptions(overwrite=True))
    assert (other / "model.safetensors").read_bytes() == before
