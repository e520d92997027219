"""The check of a merged model: it passes what is whole, and names each thing that is not."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from globa_tui.jobs.check import CheckReport, check_output
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.recipe import Recipe
from tests.cli.records import call
from tests.inputs.tokenizers import tokenizer
from tests.jobs.family import VOCAB, tensors
from tests.store.make import single

UP = "model.layers.0.mlp.up_proj.weight"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": VOCAB,
    "tie_word_embeddings": True, "torch_dtype": "float32",
}  # fmt: skip


def llama(seed: int = 0) -> dict[str, torch.Tensor]:
    """All weights that transformers wants of a Llama of one block."""
    weights = tensors(blocks=1)
    more = {"mlp.gate_proj": (24, 16), "post_attention_layernorm": (16,)}
    for name, shape in more.items():
        weights[f"model.layers.0.{name}.weight"] = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    return weights if not seed else {n: w + 0.01 * torch.randn(w.shape) for n, w in weights.items()}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Recipe]:
    torch.manual_seed(0)
    paths = [single(tmp_path / name, llama(n), CONFIG) for n, name in enumerate(("base", "ft1", "ft2"))]
    for path in paths:
        tokenizer(path, [f"t{n}" for n in range(VOCAB)])
    recipe = Recipe(base=str(paths[0]), fine_tuned=tuple(map(str, paths[1:])), method="task_arithmetic")
    run_merge(recipe, tmp_path / "out")
    return tmp_path / "out", recipe


def states(report: CheckReport) -> dict[str, str]:
    return {item.name: item.state for item in report.items}


def change(out: Path, **weights: torch.Tensor | None) -> None:
    """Rewrite tensors of a model; None removes one. Dots are written as double underscores."""
    found = load_file(out / "model.safetensors")
    for name, weight in weights.items():
        key = name.replace("__", ".")
        found.pop(key, None)
        if weight is not None:
            found[key] = weight
    save_file(found, out / "model.safetensors")


def test_a_whole_model_passes(made) -> None:
    report = check_output(made[0])
    assert states(report) == dict.fromkeys(
        ("files", "names", "finite", "tied", "config", "tokenizer", "transformers", "collapse"), "passed"
    )
    assert not report.failed


def test_what_the_merge_measured_is_what_the_files_say(made, tmp_path) -> None:
    result = run_merge(made[1], tmp_path / "again", MergeOptions(check=True))
    report = check_output(tmp_path / "again")
    assert result.check is not None
    assert states(result.check) == states(report)
    assert result.drift.keys() == report.drift.keys()
    base, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "again"))
    for name, drift in report.drift.items():
        assert drift.relative == pytest.approx(float((merged[name] - base[name]).norm() / base[name].norm()), rel=1e-5)
        assert result.drift[name].relative == pytest.approx(drift.relative, rel=1e-9)
    assert report.largest(1)[0][1].relative == max(drift.relative for drift in report.drift.values())


CASES = {
    "finite": ({UP.replace(".", "__"): torch.full((24, 16), math.nan)}, "384 NaN or infinite"),
    "collapse": ({UP.replace(".", "__"): torch.zeros(24, 16)}, "its norm is 0, the base's"),
    "missing": ({"model__norm__weight": None}, "model.norm.weight: is in the base, not in the result"),
    "extra": ({"more__weight": torch.zeros(2)}, "more.weight: is in the result, not in the base"),
    "shape": ({UP.replace(".", "__"): torch.zeros(24, 15)}, r"has the shape \[24, 15\], expected \[24, 16\]"),
    "explosion": ({UP.replace(".", "__"): torch.full((24, 16), 50.0)}, "its norm is 980"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_the_weights_is_named(made, case) -> None:
    weights, text = CASES[case]
    change(made[0], **weights)
    report = check_output(made[0])
    failed = [item for item in report.items if item.state == "failed"]
    assert failed
    assert any(re.search(text, item.message) for item in failed)
    if failed[0].name == "names":
        assert (report.items[-1].name, report.items[-1].state) == ("collapse", "skipped")


def test_an_odd_norm_is_a_warning(made) -> None:
    found = load_file(made[0] / "model.safetensors")[UP]
    change(made[0], **{UP.replace(".", "__"): 4 * found})
    report = check_output(made[0])
    assert (states(report)["collapse"], report.failed) == ("warning", False)


def test_tied_weights_that_came_apart(made) -> None:
    found = load_file(made[0] / "model.safetensors")["model.embed_tokens.weight"]
    change(made[0], lm_head__weight=found.clone())
    assert states(check_output(made[0]))["tied"] == "passed"
    change(made[0], lm_head__weight=found + 1)
    report = check_output(made[0])
    assert states(report)["tied"] == "failed"


@pytest.mark.parametrize(
    ("values", "item", "state"),
    [
        ({"vocab_size": VOCAB + 1}, "config", "failed"),
        ({"vocab_size": VOCAB + 1}, "transformers", "failed"),
        ({"quantization_config": {"quant_method": "gptq"}}, "config", "failed"),
        ({"quantization_config": None}, "config", "passed"),
        ({"intermediate_size": 25}, "transformers", "failed"),
        ({"num_hidden_layers": 2}, "transformers", "warning"),
        ({"torch_dtype": "float16"}, "config", "warning"),
        ({"model_type": "no-such-model"}, "transformers", "skipped"),
        ({"architectures": ["NoSuchModel"]}, "transformers", "skipped"),
        ({"architectures": ["logging"]}, "transformers", "skipped"),
        ({"num_hidden_layers": 10**9}, "transformers", "skipped"),
        ({"auto_map": {"AutoConfig": "evil.Config"}}, "transformers", "passed"),
    ],
)
def test_a_config_that_does_not_fit(made, values, item, state) -> None:
    (made[0] / "config.json").write_text(json.dumps(CONFIG | values))
    (made[0] / "evil.py").write_text("raise SystemExit('code of a model was run')")
    assert states(check_output(made[0]))[item] == state


def test_a_config_that_is_not_there_although_the_base_has_one(made, tmp_path) -> None:
    (made[0] / "config.json").unlink()
    [item] = [item for item in check_output(made[0]).items if item.name == "config"]
    text = f"there is no config.json (or an empty one), {tmp_path / 'base'} has one; copy it from there"
    assert (item.state, item.message) == ("failed", text)
    (tmp_path / "base" / "config.json").unlink()
    assert states(check_output(made[0]))["config"] == "skipped"


@pytest.mark.parametrize(("text", "state"), [("{", "warning"), ("[]", "warning"), ("{}", "passed")])
def test_a_generation_config_that_cannot_be_read(made, text, state) -> None:
    (made[0] / "generation_config.json").write_text(text)
    report = check_output(made[0])
    [item] = [item for item in report.items if item.name == "config"]
    assert (item.state, report.failed) == (state, False)
    assert ("generation_config.json: its text is " in item.message) == (state == "warning")


def test_tokens_without_a_row(made) -> None:
    tokenizer(made[0], [f"t{n}" for n in range(VOCAB)], ["<x>", "<y>"])
    report = check_output(made[0])
    [item] = [item for item in report.items if item.name == "tokenizer"]
    assert (item.state, item.message) == ("failed", f"2 tokens have no row, the first is '<x>' at {VOCAB} of {VOCAB}")


def test_a_fault_of_the_base_is_not_the_merges(tmp_path) -> None:
    config = CONFIG | {"vocab_size": 99}
    paths = [single(tmp_path / name, llama(n), config) for n, name in enumerate(("base", "ft1"))]
    run_merge(Recipe(base=str(paths[0]), fine_tuned=(str(paths[1]),), method="linear"), tmp_path / "out")
    assert states(check_output(tmp_path / "out"))["config"] == "warning"


def test_without_sources_it_looks_at_itself(made) -> None:
    for name in ("base", "ft1", "ft2"):
        shutil.rmtree(made[0].parent / name)
    report = check_output(made[0])
    assert states(report)["names"] == "skipped"
    assert (states(report)["finite"], report.failed) == ("passed", False)
    assert report.items[-1].message.startswith("its sources are not known here, so that norms and drift have nothing")
    assert states(report)["collapse"] == "skipped"
    change(made[0], **{UP.replace(".", "__"): torch.full((24, 16), math.inf)})
    assert check_output(made[0]).failed


def test_a_recipe_from_strangers_opens_nothing_by_a_relative_name(made, monkeypatch) -> None:
    """The recipe in a folder may name what it likes; only whole paths that exist are opened, and no run elsewhere."""
    monkeypatch.chdir(made[0].parent)
    (made[0] / "globa_recipe.yaml").write_text("base: base\nfine_tuned: [ft1, ft2]\n")
    assert states(check_output(made[0]))["names"] == "skipped"
    (made[0] / "globa_recipe.yaml").write_text("run: !!python/name:os.system\n")
    assert states(check_output(made[0]))["names"] == "skipped"


def test_the_command_prints_and_exits_with_1_on_a_fault(made, tmp_path) -> None:
    out = str(made[0])
    good = call("check", out)
    assert good.code == 0
    assert good.out.splitlines()[0].startswith("passed   files         11 tensors")
    assert "farthest from the base" in good.out
    sources = [str(tmp_path / name) for name in ("base", "ft1", "ft2")]
    document = json.loads(call("check", out, *sources[1:], "--against", sources[0], "--json").out)
    assert (document["schema"], document["failed"], len(document["largest_drift"])) == (1, False, 5)
    change(made[0], **{UP.replace(".", "__"): torch.zeros(24, 16)})
    bad = call("check", out, "--json")
    assert (bad.code, json.loads(bad.out)["failed"]) == (1, True)
    assert call("check", str(tmp_path / "nothing")).code == 2
    assert call("check", out, sources[1]).code == 2
    assert call("check", out, "--against", str(tmp_path / "nothing")).code == 1


def test_a_merge_ends_with_its_check(made, tmp_path) -> None:
    recipe = made[1]
    sources = [recipe.base or "", *recipe.fine_tuned]
    words = ("--method", "task_arithmetic")
    good = call("merge", *sources, "-o", str(tmp_path / "a"), *words)
    assert good.code == 0
    assert "globa-tui: check: 8 of 8 passed, none failed; farthest from the base: " in good.err
    bad = call("merge", *sources, "-o", str(tmp_path / "b"), *words, "--param", "scale=100000", "--json")
    assert bad.code == 1
    assert "check failed: collapse: " in bad.err
    assert json.loads(bad.out)["check"]["failed"]
    assert (tmp_path / "b" / "model.safetensors").exists()
    plain = call("merge", *sources, "-o", str(tmp_path / "c"), *words, "--param", "scale=100000", "--no-check")
    assert (plain.code, "check" in plain.err) == (0, False)


def test_an_adapter_needs_no_dense_task_vector_to_be_measured(tmp_path) -> None:
    from globa_tui.jobs.drift import Drift, task_norm
    from globa_tui.jobs.weights import Product

    left, right = torch.randn(24, 4), torch.randn(4, 16)
    norms = tuple(task_norm(model, torch.zeros(24, 16)) for model in (Product(left, right), None))
    assert norms == (pytest.approx(float((left @ right).norm()), rel=1e-5), 0.0)
    assert math.isinf(Drift(0.0, 1.0, 1.0, norms).relative)
