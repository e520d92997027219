"""Merges of whole checkpoints by every method: parts of a model, first passes, and what is not a matrix."""

from __future__ import annotations

import shlex
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analysis.errors import OptionsError
from analysis.merge import METHODS, Role, TensorContext
from globa_tui.cli.build_recipe import MergeWords, recipe_of
from globa_tui.diagnostics import ExitCode, UsageError
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.params import parse_param_for
from globa_tui.recipe import Recipe, RecipeError
from tests.cli.records import call
from tests.jobs.family import family, tensors, tuned
from tests.reference import ties as reference
from tests.store.make import single

UP = "model.layers.0.mlp.up_proj.weight"
LAST_UP = "model.layers.1.mlp.up_proj.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"
EMBED = "model.embed_tokens.weight"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def sources(folder: Path, tasks: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    base, fine_tuned = family(folder, tasks=tasks, dtype=dtype)
    return {"base": str(base), "fine_tuned": tuple(map(str, fine_tuned))}


def with_params(recipe: Recipe, *texts: str) -> Recipe:
    words = MergeWords(param=texts)
    assert recipe.base is not None
    made = recipe_of([recipe.base, *recipe.fine_tuned], MergeWords(method=recipe.method, param=words.param))
    assert made.method == recipe.method
    return made


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
def test_every_method_merges_a_model_and_its_recipe_makes_it_again(tmp_path, method, dtype):
    asked = sources(tmp_path, dtype=dtype)
    recipe = Recipe(**asked, method=method.replace("_", "-"))
    run_merge(recipe, tmp_path / "out")
    run_merge(Recipe.read(tmp_path / "out" / "globa_recipe.yaml"), tmp_path / "again")
    files = [{p.name: p.read_bytes() for p in (tmp_path / out).iterdir()} for out in ("out", "again")]
    assert files[0] == files[1]
    base, merged = weights(tmp_path / "base"), weights(tmp_path / "out")
    assert list(merged) == list(base)
    for name, weight in merged.items():
        assert (weight.dtype, weight.shape) == (dtype, base[name].shape)
        assert torch.isfinite(weight).all()
    assert any(not torch.equal(weight, base[name]) for name, weight in merged.items())


def test_parameters_go_to_their_parts_of_the_model(tmp_path):
    asked = sources(tmp_path)
    words = ("weight=0", "mlp:weight=1,0", "blocks 1:weight=0,1", f"layer {LAST_UP}:weight=2", f"layer {NORM}:scale=3")
    recipe = with_params(Recipe(**asked, method="task_arithmetic"), *words)
    assert recipe == Recipe.from_yaml(recipe.to_yaml())
    line = shlex.split(recipe.equivalent_command("o"))
    assert recipe == recipe_of(
        line[2 : line.index("-o")],
        MergeWords(method="task_arithmetic", param=[w for f, w in zip(line, line[1:], strict=False) if f == "--param"]),
    )
    run_merge(recipe, tmp_path / "out")
    base, one, two, merged = (weights(tmp_path / name) for name in ("base", "ft1", "ft2", "out"))
    for name, weight in merged.items():
        first, second = one[name] - base[name], two[name] - base[name]
        wanted = base[name]
        if name == LAST_UP:
            wanted = base[name] + 2 * first + 2 * second
        elif "layers.1." in name:
            wanted = base[name] + second
        elif ".mlp." in name:
            wanted = base[name] + first
        torch.testing.assert_close(weight, wanted, rtol=1e-6, atol=1e-7)
    assert not torch.equal(merged[UP], base[UP])


def test_parts_may_differ_in_method_parameters_of_every_kind(tmp_path):
    """Density, variant and rank cut of single kinds reach them, and nothing else."""
    asked = sources(tmp_path)
    plain = Recipe(**asked, method="ties", params={"trim": "tensor", "density": 0.3})
    for text, changed in (("q_proj:density=0.9", "q_proj"), ("attn:variant=peft", "self_attn")):
        out = tmp_path / changed
        run_merge(plain, out / "plain")
        run_merge(with_params(plain, "trim=tensor", "density=0.3", text), out / "changed")
        before, after = weights(out / "plain"), weights(out / "changed")
        for name in before:
            if changed not in name:
                assert torch.equal(before[name], after[name]), name
        if "density" in text:
            assert not torch.equal(before[QUERY], after[QUERY])


def test_ties_trims_whole_models_over_all_their_tensors(tmp_path):
    """The job's passes give the notebook's answer; a density of its own applies to its part."""
    base, fine_tuned = family(tmp_path, tasks=3, dtype=torch.bfloat16)
    asked = {"base": str(base), "fine_tuned": tuple(map(str, fine_tuned))}
    run_merge(Recipe(**asked, method="ties", dtype="float32"), tmp_path / "out")
    start = weights(tmp_path / "base")
    vectors = [
        np.concatenate([(weights(path)[n].double() - start[n].double()).numpy().reshape(-1) for n in start])
        for path in fine_tuned
    ]
    wanted = reference.notebook(vectors, 0.2)
    found = np.concatenate(
        [(w.double() - start[n].double()).numpy().reshape(-1) for n, w in weights(tmp_path / "out").items()]
    )
    np.testing.assert_allclose(found, wanted, atol=1e-7)
    run_merge(with_params(Recipe(**asked, method="ties"), "mlp:density=0.8"), tmp_path / "mixed")
    mixed, plain = weights(tmp_path / "mixed"), weights(tmp_path / "out")
    assert torch.equal(mixed[QUERY], plain[QUERY].bfloat16())
    assert int((mixed[UP] != start[UP]).sum()) > 1.5 * int((plain[UP].bfloat16() != start[UP]).sum())


def test_progress_counts_the_first_passes(tmp_path):
    seen = []
    run_merge(Recipe(**sources(tmp_path), method="ties"), tmp_path / "out", None, seen.append)
    layers = len(weights(tmp_path / "base"))
    assert seen[-1].total == seen[-1].done == 4 * layers


def test_a_tied_head_is_one_tensor_for_the_whole_trim(tmp_path):
    """Were it counted twice, the threshold would be another."""
    base = tensors()
    base["lm_head.weight"] = base[EMBED].clone()
    config = {"tie_word_embeddings": True}
    models = [base]
    for n in (1, 2):
        one = tuned({k: v for k, v in base.items() if k != "lm_head.weight"}, n)
        one[EMBED] = base[EMBED] + 10 * (one[EMBED] - base[EMBED])
        models.append({**one, "lm_head.weight": one[EMBED].clone()})
    both = [str(single(tmp_path / f"m{n}", model, config)) for n, model in enumerate(models)]
    without = [{k: v for k, v in model.items() if k != "lm_head.weight"} for model in models]
    alone = [str(single(tmp_path / f"w{n}", model, config)) for n, model in enumerate(without)]
    for paths, out in ((both, "tied"), (alone, "alone")):
        run_merge(Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method="ties"), tmp_path / out)
    tied, single_head = weights(tmp_path / "tied"), weights(tmp_path / "alone")
    assert torch.equal(tied["lm_head.weight"], tied[EMBED])
    for name, weight in single_head.items():
        assert torch.equal(tied[name], weight), name


@pytest.mark.parametrize("method", ["tsv_m", "iso_c", "iso_cts", "alignmerge_o"])
def test_what_is_no_matrix_is_averaged_and_embeddings_are_a_switch(tmp_path, method):
    cube = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    extra = {"model.conv.weight": cube, "model.position_ids": torch.arange(5), "model.up.bias": torch.ones(24)}
    base = tensors() | extra
    moved = [tuned({k: base[k] for k in tensors()}, n) for n in (1, 2)]
    more = [
        {"model.conv.weight": cube + n, "model.position_ids": torch.arange(5), "model.up.bias": torch.ones(24) * n}
        for n in (1, 2)
    ]
    models = [base, *(one | two for one, two in zip(moved, more, strict=True))]
    paths = [str(single(tmp_path / f"m{n}", model)) for n, model in enumerate(models)]
    asked = {"base": paths[0], "fine_tuned": tuple(paths[1:]), "method": method}
    run_merge(Recipe(**asked), tmp_path / "out")
    run_merge(Recipe(**asked, params={"embeddings": "svd"}), tmp_path / "svd")
    merged = weights(tmp_path / "out")
    for name in base:
        if name in (NORM, EMBED, "model.conv.weight", "model.up.bias", "model.layers.0.input_layernorm.weight"):
            wanted = (models[1][name] + models[2][name]) / 2
            torch.testing.assert_close(merged[name], wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(merged["model.position_ids"], torch.arange(5))
    other = weights(tmp_path / "svd")
    assert [name for name in base if not torch.equal(merged[name], other[name])] == [EMBED]
    mean = (models[1][UP] + models[2][UP]) / 2
    assert float((merged[UP] - mean).norm() / (mean - base[UP]).norm()) > 0.05


@pytest.mark.parametrize("method", METHODS)
def test_convolutions_and_scalars_are_merged_and_buffers_are_the_bases(tmp_path, method):
    def drawn(number: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(7)
        kernel, move = (torch.randn(2, 3, 2, 2, generator=generator) for _ in range(2))
        return {
            "model.patch.weight": kernel + 0.01 * number * move,
            "model.scale": torch.tensor(1.0 + 0.01 * number),
            "model.ids": torch.arange(5) + number,
            "model.mask": torch.tensor([True, number > 0]),
        }

    paths = [str(single(tmp_path / f"m{number}", drawn(number))) for number in range(3)]
    run_merge(Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method=method), tmp_path / "out")
    merged, base = weights(tmp_path / "out"), drawn(0)
    for name in ("model.ids", "model.mask"):
        assert torch.equal(merged[name], base[name])
    # Fine-tune 1 and 2 are one and two steps from the base.
    steps = 3.0 if method in ("task_arithmetic", "alignmerge_b") else 1.5
    for name in ("model.patch.weight", "model.scale"):
        step = drawn(1)[name] - base[name]
        if method.startswith(("dare", "ties")):
            assert not torch.equal(merged[name], base[name]) or name == "model.scale"
        else:
            torch.testing.assert_close(merged[name], base[name] + steps * step, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("method", "rows", "share"), [
    ("tsv_m", 1, 0.5), ("alignmerge_o", 1, 0.5), ("alignmerge_o", 2, 0.5), ("iso_c", 1, 1.0), ("iso_cts", 1, 1.0),
])  # fmt: skip
def test_a_side_shorter_than_the_number_of_models(method, rows, share):
    """TSV-M and AlignMerge-O have no direction for each model and take the mean; one row decomposed is itself."""
    taus = [torch.randn(rows, 8, generator=torch.Generator().manual_seed(number)) for number in range(2)]
    found = METHODS[method].merge(taus, {}, TensorContext("w", "matrix"))
    torch.testing.assert_close(found, share * (taus[0] + taus[1]), rtol=0, atol=1e-5)


def test_a_tensor_that_a_model_lacks_counts_as_unchanged(tmp_path):
    base = tensors()
    lacking = tuned(base, 2)
    del lacking[UP]
    paths = [str(single(tmp_path / n, w)) for n, w in (("base", base), ("ft1", tuned(base, 1)), ("ft2", lacking))]
    run_merge(Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method="linear"), tmp_path / "out")
    wanted = (weights(tmp_path / "ft1")[UP] + base[UP]) / 2
    torch.testing.assert_close(weights(tmp_path / "out")[UP], wanted)


@pytest.mark.parametrize("method", ["iso_c", "ties", "alignmerge_b"])
def test_nan_passes_only_when_it_may(tmp_path, method):
    base = tensors()
    broken = tuned(base, 1)
    broken[UP][2, 3] = float("nan")
    paths = [str(single(tmp_path / n, w)) for n, w in (("base", base), ("ft1", broken), ("ft2", tuned(base, 2)))]
    recipe = Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method=method)
    result = run_merge(recipe, tmp_path / "out", MergeOptions(allow_failed=True))
    assert result.passed_through == (() if method == "ties" else (UP,))
    if method != "ties":
        assert int(weights(tmp_path / "out")[UP].isnan().sum()) == 1


BAD = [
    (("--method", "sum"), "unknown merge method 'sum'; choose globa or one of linear, task_arithmetic, ties"),
    (("--method", "ties", "--param", "densty=1"), "method ties has no parameter 'densty'; it knows combine, density"),
    (
        ("--method", "ties", "--param", "density=0"),
        "density is 0: it must be a number, for all models or for each in (0",
    ),
    (("--method", "ties", "--param", "density=1.5"), "density is 1.5"),
    (("--method", "ties", "--param", "mlp:trim=row"), "trim is 'row': it must be global or tensor"),
    (("--method", "ties", "--param", "variant=mergkit"), "no variant 'mergkit'; it knows paper, mergekit, peft"),
    (("--method", "linear", "--param", "q_proj:weight=1,2,3"), "weight has 3 values for 2 fine-tunes"),
    (("--method", "slerp", "--param", "t=2"), "t is 2: it must be a number in [0, 1]"),
    (("--method", "tsv-m", "--param", "rank_cut=maybe"), "rank_cut is 'maybe': it must be true or false"),
    (("--method", "dare-ties", "--param", "seed=-1"), "seed is -1: it must be a whole number in [0"),
    (("--method", "linear", "--param", "upp:weight=1"), "upp:weight=1: no layer is meant by that; the kinds are"),
    (
        ("--method", "linear", "--param", "layer model.layers.0.mlp.up_prj.weight:weight=1"),
        "there is no such layer; is model.layers.0.mlp.up_proj.weight meant?",
    ),
    (("--method", "linear", "--param", "mlp:weight"), "is not NAME=VALUE"),
    (("--method", "linear", "--param", "weight=1", "--param", "weight=2"), "--param: a parameter is given twice"),
    (("--param", "mlp:eta=0.5"), "parameters for parts of the model are for other methods; globa takes --coef"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_mistakes_are_found_before_a_weight_is_read(tmp_path, words, said):
    asked = sources(tmp_path)
    for dry in ((), ("--dry-run",)):
        result = call("merge", asked["base"], *asked["fine_tuned"], "-o", str(tmp_path / "out"), *words, *dry)
        assert result.code == ExitCode.USAGE
        assert said in result.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_parameters_for_what_is_merged_under_another_name_are_refused(tmp_path):
    base = tensors() | {"model.layers.0.mlp.experts.up_proj": torch.ones(2, 8, 12)}
    base["lm_head.weight"] = base["model.embed_tokens.weight"].clone()
    paths = [str(single(tmp_path / name, base, {"tie_word_embeddings": True})) for name in ("base", "one", "two")]
    for target, said in (
        ("lm_head", "lm_head.weight is tied to model.embed_tokens.weight and merged with it; set it there"),
        ("layer model.layers.0.mlp.experts.up_proj", "is a stack of matrices; name one of them, such as model"),
    ):
        words = ("--method", "linear", "--param", f"{target}:weight=1,0", "-q")
        result = call("merge", *paths, "-o", str(tmp_path / "out"), *words)
        assert (result.code, said in result.err) == (ExitCode.USAGE, True)
    words = ("--method", "linear", "--param", "layer model.layers.0.mlp.experts.up_proj[1]:weight=1,0", "-q")
    assert call("merge", *paths, "-o", str(tmp_path / "out"), *words).code == 0
    alone = call("merge", paths[0], "-o", str(tmp_path / "again"), "--method", "linear")
    assert (alone.code, "base: is a checkpoint; name its fine-tunes too" in alone.err) == (ExitCode.USAGE, True)


def test_slerp_of_three_is_refused_by_number(tmp_path):
    with pytest.raises(OptionsError, match="slerp is for 2 models, there are 3"):
        run_merge(Recipe(**sources(tmp_path, tasks=3), method="slerp"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("run: x\nparam_overrides: [{target: mlp}]", "is not 'mlp:density=0.5' or a mapping with target and params"),
        ("run: x\nparam_overrides: [{target: mlp, params: {a: {}}}]", "params: a is {}"),
        ("run: x\nparam_overrides: ['a b c:x=1']", "cannot read the target 'a b c'"),
        ("run: x\nparam_overrides: mlp", "param_overrides: 'mlp' is not a list"),
        ("run: x\nparam_overrides: ['mlp:density']", "is not NAME=VALUE"),
    ],
)
def test_mistaken_overrides_in_a_recipe(text, named):
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(text)
    assert named in str(caught.value)


def test_overrides_read_from_words():
    assert parse_param_for("density=0.5") == parse_param_for(" model:density=0.5")
    assert [str(parse_param_for(text)) for text in ("attention: weight=1,0", "layer a=b:c:t=0.25")] == [
        "attn:weight=1,0",
        "layer a=b:c:t=0.25",
    ]
    yaml = "run: r\nmethod: TSV-M\nparam_overrides: ['mlp:scale=0.5', {target: blocks 0-3, params: {weight: [1, 0]}}]"
    recipe = Recipe.from_yaml(yaml)
    assert recipe.method == "tsv_m"
    assert recipe.resolve_params({"name": "n", "kind": "up_proj", "block": 2}) == {"scale": 0.5, "weight": [1, 0]}
    assert recipe.resolve_params({"name": "n", "kind": "up_proj", "block": 4}) == {"scale": 0.5}
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_another_method_on_the_command_line_forgets_the_parameters(tmp_path):
    path = tmp_path / "r.yaml"
    recipe = Recipe(base="b", fine_tuned=("x", "y"), method="ties", params={"density": 0.1})
    path.write_text(Recipe.from_dict({**recipe.to_dict(), "param_overrides": ["mlp:density=0.5"]}).to_yaml())
    kept = recipe_of([str(path)], MergeWords(method="TIES", param=["q_proj:scale=2"]))
    assert [str(one) for one in kept.param_overrides] == ["mlp:density=0.5", "q_proj:scale=2"]
    changed = recipe_of([str(path)], MergeWords(method="tsv-m"))
    assert (changed.method, changed.params, changed.param_overrides) == ("tsv_m", {}, ())
    with pytest.raises(UsageError, match="is for the method globa"):
        recipe_of([str(path)], MergeWords(coef=["A=1"]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variant", ["paper", "other"])
def test_large_tensors_are_merged_in_parts_to_the_same_bytes(tmp_path, monkeypatch, method, variant):
    """Blocks of 64 entries instead of 2¹⁸; random masks belong to a block, so they change with its size."""
    asked = sources(tmp_path, tasks=2)
    params: dict[str, Any] = {"density": 0.6} if "dare" in method else {}
    if variant == "other":
        params |= {"embeddings": "svd"} if "embeddings" in METHODS[method].known({}) else {}
        params |= {"variant": "mergekit"} if "mergekit" in METHODS[method].variants else {}
    recipe = Recipe(**asked, method=method, params=params)
    monkeypatch.setattr("analysis.merge.drop.BLOCK", 64)
    run_merge(recipe, tmp_path / "whole")
    monkeypatch.setattr("globa_tui.jobs.weights.BLOCK", 64)
    monkeypatch.setattr("globa_tui.jobs.weights.PIECE", 128)
    shown = []
    kind = type(METHODS[method])
    run = kind.run

    def noting(self: Any, taus: Any, *rest: Any) -> torch.Tensor:
        shown.append(taus[0].numel())
        return run(self, taus, *rest)

    monkeypatch.setattr(kind, "run", noting)
    run_merge(recipe, tmp_path / "parts")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name, weight in whole.items():
        assert torch.equal(weight, parts[name]), name
    by_entry = METHODS[method].by_entry("embedding", METHODS[method].complete(params, 2))
    assert (shown.count(64) > 3) == by_entry
    if variant == "paper":
        assert by_entry, "embeddings, the largest tensors, are merged in parts by default"


@pytest.mark.parametrize("method", METHODS)
def test_a_result_is_no_view_of_a_task_vector(method):
    """Task vectors lie in memory that the next part uses again, while a result waits to be written."""
    generator = torch.Generator().manual_seed(0)
    taus = [torch.randn(4, 6, generator=generator), torch.zeros(4, 6)]
    before = [tau.clone() for tau in taus]
    weighted: list[dict[str, Any]] = [{}] if method == "slerp" else [{}, {"weight": [1.0, 0.0]}]
    roles: tuple[Role, ...] = ("matrix", "embedding", "vector")
    for role, params in product(roles, weighted):
        context = TensorContext("w", role, base=torch.randn(4, 6, generator=generator))
        known = METHODS[method].known({})
        plain = {name: value for name, value in (("trim", "tensor"), ("density", 1.0)) if name in known}
        found = METHODS[method].merge(taus, params | plain, context)
        assert found.untyped_storage().data_ptr() not in {tau.untyped_storage().data_ptr() for tau in taus}
        assert all(torch.equal(tau, old) for tau, old in zip(taus, before, strict=True))
