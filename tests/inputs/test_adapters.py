"""LoRA adapters as fine-tunes: against PEFT itself, from their factors, and what is refused."""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from analysis import layer as analysis_layer
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.presets import merge_preset
from globa_tui.recipe import Recipe
from store.checkpoints import IndexReader, TensorReader, build_index, open_checkpoint
from store.errors import CheckpointError
from store.run import Run
from tests.inputs.adapters import adapter, applied, factors, lora
from tests.jobs.family import family, tensors, tuned
from tests.store.make import single

Q = "model.layers.0.self_attn.q_proj"


def delta_of(folder: Path, base: Path, name: str) -> torch.Tensor:
    """τ of one tensor as our index and reader give it."""
    index = build_index(open_checkpoint(str(base)), [open_checkpoint(str(folder))])
    index.require_mergeable()
    layer = next(layer for layer in index.layers if layer.name == name)
    with IndexReader(index) as reader:
        weight, [model] = reader.read(layer)
    if model is None:
        return torch.zeros_like(weight, dtype=torch.float64)
    if isinstance(model, torch.Tensor):
        return model.double() - weight.double()
    return model.scale * (model.left.double() @ model.right.double())


PEFT_CASES = {
    "plain": {"target_modules": ["q_proj", "v_proj"]},
    "patterns": {
        "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"layers.0.self_attn.q_proj": 2, r".*\.1\.mlp\.up_proj": 3},
        "alpha_pattern": {"up_proj": 5, "^model.layers.1.self_attn.q_proj": 7},
    },
    "rank-stabilised": {"target_modules": ["q_proj"], "use_rslora": True},
    "modules-to-save": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "all-linear": {"target_modules": "all-linear"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", PEFT_CASES)
def test_the_change_is_the_one_that_peft_merges(case: str, tmp_path: Path) -> None:
    peft, transformers = import_module("peft"), import_module("transformers")
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=32, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    before = {name: weight.detach().double().clone() for name, weight in model.state_dict().items()}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **PEFT_CASES[case]))
    for name, weight in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            weight.data.add_(0.1 * torch.randn_like(weight))
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = wrapped.merge_and_unload().state_dict()
    moved = 0
    for name, weight in before.items():
        wanted = merged[name].double() - weight
        found = delta_of(tmp_path / "adapter", tmp_path / "base", name)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")
        moved += bool(wanted.any())
    assert moved >= 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("flag", [True, False], ids=["said", "not-said"])
def test_gpt2_stores_its_layers_the_other_way_round(flag: bool, tmp_path: Path) -> None:
    """The flag may be wrong in old configs: what fits the base decides."""
    peft, transformers = import_module("peft"), import_module("transformers")
    torch.manual_seed(1)
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=32, n_positions=8)
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path / "base")
    before = {name: weight.detach().double().clone() for name, weight in model.state_dict().items()}
    settings = peft.LoraConfig(r=4, target_modules=["c_attn", "c_proj"], bias="lora_only")
    wrapped = peft.get_peft_model(model, settings)
    for weight in wrapped.parameters():
        if weight.requires_grad:
            weight.data.add_(0.1 * torch.randn_like(weight))
    wrapped.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fan_in_fan_out": flag}))
    merged = wrapped.merge_and_unload().state_dict()
    for name in ("transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_proj.weight",
                 "transformer.h.0.attn.c_attn.bias", "transformer.h.0.mlp.c_proj.weight"):  # fmt: skip
        wanted = merged[name].double() - before[name]
        assert bool(wanted.any())
        torch.testing.assert_close(delta_of(tmp_path / "adapter", tmp_path / "base", name), wanted, rtol=0, atol=1e-7)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, Path, dict[str, torch.Tensor]]:
    """A base and two adapters that touch different tensors."""
    base = tensors()
    path = single(tmp_path / "base", base)
    one = lora(base, tmp_path / "ft1", ("q_proj", "up_proj"), 1)
    two = lora(base, tmp_path / "ft2", ("q_proj", "v_proj"), 2)
    return path, one, two, base


def test_what_an_adapter_leaves_alone_is_no_warning(pair) -> None:
    base, one, two, _ = pair
    index = build_index(open_checkpoint(str(base)), [open_checkpoint(str(one)), open_checkpoint(str(two))])
    assert {finding.severity for finding in index.findings} == {"info"}
    assert [f.message for f in index.findings if f.code == "adapter"] == [
        "ft1: a LoRA adapter of rank 4; it changes 4 of 16 tensors (0 of them whole), the others are as in the base",
        "ft2: a LoRA adapter of rank 4; it changes 4 of 16 tensors (0 of them whole), the others are as in the base",
    ]
    layers = {layer.name: layer for layer in index.layers}
    assert layers[f"{Q}.weight"].ranks == (4, 4)
    assert layers["model.layers.0.mlp.up_proj.weight"].fine_tuned == ("model.layers.0.mlp.up_proj.weight", None)


def test_no_product_is_multiplied_out_for_the_analysis(pair, tmp_path, monkeypatch) -> None:
    """Nothing of the size of a layer is decomposed, and the frozen partner of a change counts as zero."""
    base, one, two, _ = pair
    dense = []
    original = analysis_layer.truncated_svd
    monkeypatch.setattr(analysis_layer, "truncated_svd", lambda m, e: dense.append(bool(m.any())) or original(m, e))
    run_analysis(AnalysisRequest(str(base), (str(one), str(two)), tmp_path / "run.globa"))
    assert not any(dense), "only the zero of a frozen partner went the dense way"
    records = {record["name"]: record for record in Run.open(tmp_path / "run.globa").records()}
    assert records[f"{Q}.weight"]["decomposition"] == ["factors", "factors"]
    assert records["model.layers.0.mlp.up_proj.weight"]["rank"][1] == 0
    assert records["model.layers.0.mlp.up_proj.weight"]["frozen"] == [False, True]
    assert records["model.layers.0.mlp.down_proj.weight"]["reason"] == "unchanged in every fine-tune"


def test_the_analysis_of_factors_is_that_of_the_merged_weights(pair, tmp_path) -> None:
    base, one, two, weights = pair
    plain = [single(tmp_path / f"m{n}", applied(weights, path)) for n, path in ((1, one), (2, two))]
    single(tmp_path / "wide", {name: weight.double() for name, weight in weights.items()})
    settings = AnalysisSettings(precision="float64")
    run_analysis(AnalysisRequest(str(base), (str(one), str(two)), tmp_path / "a.globa", settings))
    run_analysis(AnalysisRequest(str(tmp_path / "wide"), tuple(map(str, plain)), tmp_path / "b.globa", settings))
    factored, dense = (Run.open(tmp_path / f"{run}.globa").records() for run in "ab")
    compared = 0
    for ours, theirs in zip(factored, dense, strict=True):
        if ours["status"] == "done":
            compared += 1
            assert ours["rank"] == theirs["rank"]
            assert ours["norm"]["task_vectors"] == pytest.approx(theirs["norm"]["task_vectors"], rel=1e-9, abs=1e-12)
            for pattern, cell in ours["patterns"].items():
                assert cell["energy"] == pytest.approx(theirs["patterns"][pattern]["energy"], rel=1e-6, abs=1e-12)
    assert compared == 6


@pytest.mark.parametrize("method", ["globa", "task_arithmetic", "linear"])
def test_merging_adapters_is_merging_their_models(pair, tmp_path, method) -> None:
    base, one, two, weights = pair
    plain = [single(tmp_path / f"m{n}", applied(weights, path)) for n, path in ((1, one), (2, two))]
    more = {"coefficients": merge_preset("all").coefficients} if method == "globa" else {}
    run_merge(Recipe(base=str(base), fine_tuned=(str(one), str(two)), method=method, **more), tmp_path / "a")
    run_merge(Recipe(base=str(base), fine_tuned=tuple(map(str, plain)), method=method, **more), tmp_path / "b")
    ours, theirs = (load_file(tmp_path / out / "model.safetensors") for out in "ab")
    for name, weight in ours.items():
        torch.testing.assert_close(
            weight, theirs[name], rtol=0, atol=2e-6, msg=lambda text, name=name: f"{name} {text}"
        )
    assert not torch.equal(ours[f"{Q}.weight"], weights[f"{Q}.weight"])


def test_an_adapter_and_a_whole_model_mix(pair, tmp_path) -> None:
    base, one, _, weights = pair
    whole = tuned(weights, 9)
    single(tmp_path / "whole", whole)
    recipe = Recipe(base=str(base), fine_tuned=(str(one), str(tmp_path / "whole")), method="task_arithmetic")
    run_merge(recipe, tmp_path / "out")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    wanted = applied(weights, one)
    for name, weight in merged.items():
        sum_ = wanted[name] + whole[name].double() - weights[name].double()
        torch.testing.assert_close(weight.double(), sum_, rtol=0, atol=1e-6)


def test_a_run_of_adapters_merges_from_its_factors(pair, tmp_path) -> None:
    base, one, two, _ = pair
    run_analysis(AnalysisRequest(str(base), (str(one), str(two)), tmp_path / "run.globa"))
    run_merge(Recipe(run=str(tmp_path / "run.globa")), tmp_path / "stored")
    run_merge(Recipe(base=str(base), fine_tuned=(str(one), str(two))), tmp_path / "scratch")
    stored, scratch = (load_file(tmp_path / out / "model.safetensors") for out in ("stored", "scratch"))
    for name, weight in stored.items():
        torch.testing.assert_close(weight, scratch[name], rtol=0, atol=1e-6)


def test_another_alpha_is_another_source(pair, tmp_path) -> None:
    """The settings are part of the identity: the same factors with another alpha are another model."""
    from store.errors import RunForeignError

    base, one, two, _ = pair
    request = AnalysisRequest(str(base), (str(one), str(two)), tmp_path / "run.globa")
    run_analysis(request)
    path = one / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 8', '"lora_alpha": 9'))
    with pytest.raises(RunForeignError, match="adapter_config"):
        run_analysis(request)


REFUSED = {
    "peft_type": "LOHA",
    "use_dora": True,
    "use_qalora": True,
    "lora_bias": True,
    "init_lora_weights": "loftq",
    "target_parameters": ["experts.gate_up_proj"],
    "trainable_token_indices": [3],
    "layer_replication": [[0, 2], [1, 3]],
    "alora_invocation_tokens": [1, 2],
    "rank_pattern": {"(a+)+b": 3},
    "alpha_pattern": {"q_proj": "eight"},
    "lora_alpha": "8",
    "r": 0,
}


@pytest.mark.parametrize("key", REFUSED)
def test_other_adapters_are_refused_by_key_and_value(key: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16)}, **{key: REFUSED[key]})
    with pytest.raises(CheckpointError, match=rf"adapter_config.json: {key}.* is .*merge_and_unload") as found:
        open_checkpoint(str(folder))
    assert "\n" not in str(found.value)


def test_plain_starts_are_no_reason_to_refuse(tmp_path: Path) -> None:
    for start in (True, False, "gaussian", "eva"):
        folder = adapter(tmp_path / str(start), {Q: factors(16, 16)}, init_lora_weights=start, loftq_config={})
        assert open_checkpoint(str(folder)).adapter


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (f"{Q}.lora_magnitude_vector", "no part of a plain LoRA adapter"),
        (f"{Q}.lora_B.bias", "no part of a plain LoRA adapter"),
        ("model.layers.1.self_attn.q_proj.lora_A.weight", "has no partner lora_B"),
        ("model.layers.1.self_attn.q_proj.lora_A.other.weight", "several adapters"),
    ],
)
def test_tensors_that_do_not_belong_are_named(tensor: str, reason: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16)}, {tensor: torch.zeros(4, 16)})
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(str(folder))


def test_a_rank_that_is_not_the_configs_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16, rank=3)})
    with pytest.raises(CheckpointError, match=r"rank 4 by adapter_config.json, lora_A has 3 rows"):
        open_checkpoint(str(folder))


def test_an_adapter_of_something_else_does_not_fit(tmp_path: Path) -> None:
    base = single(tmp_path / "base", tensors())
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16), "model.layers.9.self_attn.q_proj": factors(16, 16)})
    wide = adapter(tmp_path / "wide", {Q: factors(20, 16)})
    index = build_index(open_checkpoint(str(base)), [open_checkpoint(str(folder)), open_checkpoint(str(wide))])
    first, second = index.errors
    assert first.message.startswith("model.layers.9.self_attn.q_proj.weight: ft1")
    assert second.message.startswith(f"{Q}.weight: base has [16, 16], ft2 has [20, 16]")


def test_a_base_may_not_be_an_adapter(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16)})
    opened = open_checkpoint(str(folder))
    assert "is a LoRA adapter; name the whole model" in build_index(opened, [opened]).errors[0].message


def test_factors_are_no_values(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16)})
    with TensorReader(open_checkpoint(str(folder))) as reader, pytest.raises(CheckpointError, match="given by factors"):
        reader.read(f"{Q}.weight")


EMBED, HEAD = "model.embed_tokens", "lm_head"
"""Of the family, whose base ties them where its config says so."""


def heads_of(tmp_path: Path, modules: tuple[str, ...] = (Q,), stored: bool = False, **whole: torch.Tensor) -> list[str]:
    """What is reported on output embeddings of an adapter, over a tied base that stores its own or not."""
    weights = tensors()
    weights.pop("lm_head.weight", None)
    if stored:
        weights["lm_head.weight"] = weights[f"{EMBED}.weight"].clone()
    base = single(tmp_path / "base", weights, {"tie_word_embeddings": True})
    given = {name.replace("__", "."): tensor for name, tensor in whole.items()}
    folder = adapter(tmp_path / "ft", {name: factors(*SHAPES.get(name, (16, 16))) for name in modules}, given)
    index = build_index(open_checkpoint(str(base)), [open_checkpoint(str(folder))])
    return [f"{one.severity} {one.message}" for one in index.findings if one.message.startswith("lm_head.weight: ")]


TABLE = tensors()[f"{EMBED}.weight"]
SHAPES = {HEAD: tuple(TABLE.shape)}


@pytest.mark.parametrize("stored", [False, True], ids=["tied-and-absent", "tied-and-stored"])
def test_a_trained_head_over_a_tied_base_is_refused(stored: bool, tmp_path: Path) -> None:
    """It has no place in the result, so that leaving it out would lose what was trained."""
    refused = f"error lm_head.weight: ft1 ({tmp_path / 'ft'}) {{}}, but the base ties it to {EMBED}.weight; name a base"
    refused += " that stores output embeddings, with tie_word_embeddings false in its config.json"
    for whole in (
        {"lm_head__weight": TABLE + 1},
        {"lm_head__weight": TABLE + 1, "model__embed_tokens__weight": TABLE + 2},
        {"lm_head__weight": TABLE, "model__embed_tokens__weight": TABLE + 2},
        {"lm_head__weight": torch.cat([TABLE, TABLE[:1]])},
    ):
        assert heads_of(tmp_path, stored=stored, **whole)[0] == refused.format("has one of its own")
    assert heads_of(tmp_path, (Q, HEAD), stored=stored)[0] == refused.format("adapts it")


@pytest.mark.parametrize("stored", [False, True], ids=["tied-and-absent", "tied-and-stored"])
def test_a_head_that_is_a_copy_of_the_embeddings_is_none(stored: bool, tmp_path: Path) -> None:
    """PEFT saves both tables where the vocabulary was resized; types may differ, values may not."""
    remark = f"info lm_head.weight: a copy in ft1, tied to {EMBED}.weight in the base: left out"
    for whole in (
        {"lm_head__weight": TABLE},
        {"lm_head__weight": TABLE.double()},
        {"lm_head__weight": TABLE + 1, "model__embed_tokens__weight": TABLE + 1},
    ):
        assert heads_of(tmp_path, stored=stored, **whole)[0] == remark
    assert heads_of(tmp_path, stored=stored) == []


def test_an_untied_base_takes_the_head_of_an_adapter(tmp_path: Path) -> None:
    """What the refusal tells to do."""
    weights = tensors() | {"lm_head.weight": TABLE.clone()}
    base = single(tmp_path / "base", weights, {"tie_word_embeddings": False})
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16)}, {"lm_head.weight": TABLE + 1})
    assert torch.equal(delta_of(folder, base, "lm_head.weight"), (TABLE + 1).double() - TABLE.double())


def test_an_adapter_in_the_old_format(tmp_path: Path) -> None:
    base = single(tmp_path / "base", tensors())
    folder = adapter(tmp_path / "ft", {Q: factors(16, 16)})
    old = adapter(tmp_path / "old", {Q: factors(16, 16)})
    torch.save(load_file(old / "adapter_model.safetensors"), old / "adapter_model.bin")
    (old / "adapter_model.safetensors").unlink()
    assert torch.equal(delta_of(folder, base, f"{Q}.weight"), delta_of(old, base, f"{Q}.weight"))


def test_nan_in_a_factor_is_named(tmp_path: Path) -> None:
    base_path, [whole] = family(tmp_path, tasks=1)
    down, up = factors(16, 16)
    down[1, 2] = float("nan")
    folder = adapter(tmp_path / "lora", {Q: (down, up)})
    request = AnalysisRequest(str(base_path), (str(folder), str(whole)), tmp_path / "run.globa")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = run_analysis(request)
    assert summary.failed == (f"{Q}.weight",)


def test_a_disk_estimate_knows_the_ranks(tmp_path: Path) -> None:
    from dataclasses import asdict

    from globa_tui.estimate import most_factor_bytes

    base = single(tmp_path / "base", {f"{Q}.weight": torch.zeros(512, 512)})
    ft = adapter(tmp_path / "ft", {Q: factors(512, 512)})
    settings = AnalysisSettings().for_tasks(2)
    sizes = []
    for source in (ft, base):
        opened = open_checkpoint(str(source))
        index = build_index(open_checkpoint(str(base)), [opened, opened])
        sizes.append(most_factor_bytes([asdict(layer) for layer in index.layers], settings))
    assert sizes[0] < sizes[1] / 50
