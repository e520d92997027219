"""mergekit's YAML: the numbers it means, and a plain no to what has no counterpart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from analysis.merge.drop import keep_mask
from globa_tui import safe_yaml
from globa_tui.coefficients import RecipeError
from globa_tui.jobs.merge import run_merge
from globa_tui.mergekit import from_mergekit, is_mergekit
from globa_tui.recipe import Recipe
from tests.cli.models import write_family
from tests.cli.records import call
from tests.jobs.family import family
from tests.reference import averages
from tests.reference import ties as reference

TASK_ARITHMETIC = """
merge_method: task_arithmetic
base_model: {0}
models:
  - model: {0}
  - model: {1}
    parameters: {{weight: 0.5}}
  - model: {2}
parameters: {{weight: 1.5, lambda: 0.4, int8_mask: true}}
dtype: float32
"""
LINEAR = """
merge_method: linear
models:
  - {{model: {0}, parameters: {{weight: 1}}}}
  - {{model: {1}, parameters: {{weight: 3}}}}
out_dtype: float32
"""


def read(text: str) -> Recipe:
    return from_mergekit(safe_yaml.load(text))


def test_translates() -> None:
    assert read(TASK_ARITHMETIC.format("b", "x", "y")) == Recipe(
        base="b",
        fine_tuned=("x", "y"),
        method="task_arithmetic",
        params={"variant": "mergekit", "weight": [0.5, 1.5], "normalize": False, "scale": 0.4},
        dtype="float32",
    )
    params = {"variant": "mergekit", "weight": [1.0, 3.0], "normalize": True}
    linear = Recipe(base="x", fine_tuned=("x", "y"), method="linear", params=params, dtype="float32")
    assert read(LINEAR.format("x", "y")) == linear
    assert not is_mergekit(linear.to_dict())


def test_the_merge_is_what_mergekit_defines(tmp_path: Path) -> None:
    """Task arithmetic: θ0 + λ Σ w δ. Linear: Σ w θ / Σ w of the models themselves."""
    family = write_family(tmp_path)
    base, first, second = (load_file(Path(source) / "model.safetensors") for source in family)
    wanted = {
        "ta": {n: base[n] + 0.4 * (0.5 * (first[n] - base[n]) + 1.5 * (second[n] - base[n])) for n in base},
        "linear": {n: (first[n] + 3 * second[n]) / 4 for n in base},
    }
    (tmp_path / "ta.yml").write_text(TASK_ARITHMETIC.format(*family))
    (tmp_path / "linear.yml").write_text(LINEAR.format(*family[1:]))
    for name, tensors in wanted.items():
        result = call("merge", str(tmp_path / f"{name}.yml"), "-o", str(tmp_path / name), "--quiet")
        assert (result.code, result.err) == (0, "")
        merged = load_file(tmp_path / name / "model.safetensors")
        for tensor, value in tensors.items():
            np.testing.assert_allclose(merged[tensor], value, atol=1e-6)


ONE = "merge_method: linear\nmodels: [{model: x, parameters: {weight: 1}}, {model: y, parameters: {weight: 1}}]\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("merge_method: model_stock\nmodels: []", "mergekit's method 'model_stock' is not read here"),
        ("merge_method: linear\nslices: []", "slices: one slice over whole models is read here"),
        ("merge_method: linear\nslices: [{sources: []}]", "slices: a slice needs a list of sources"),
        (
            "merge_method: linear\nslices: [{sources: [{model: x, layer_range: [4, 8]}]}]",
            "layer_range [[4, 8]]: only whole models are read here",
        ),
        (f"{ONE}chat_template: chatml", "chat_template: 'chatml' is no Jinja text; give the text, or auto"),
        (f"{ONE}chat_template: auto", "chat_template: auto needs the templates of all models: x: "),
        (f"{ONE}tokenizer_source: 3", "tokenizer_source: 3 is not read here; 'base', 'union' or the name"),
        (f"{ONE}tokenizer: {{}}", "tokenizer: {}: only source is read here"),
        (f"{ONE}tokenizer: {{source: union, pad_to_multiple_of: 8}}", "only source is read here"),
        (f"{ONE}tokenizer: {{source: union}}\ntokenizer_source: base", "is given beside tokenizer_source"),
        ("merge_method: linear", "models: a list of models is needed"),
        ("merge_method: linear\nmodels: [x]", "models: 'x' has no model: NAME"),
        ("merge_method: linear\nmodels: [{model: x}]", "models: 'x' has no weight"),
        ("merge_method: linear\nmodels: [{model: x+lora}]", "is a model with an adapter"),
        (
            "merge_method: linear\nmodels: [{model: x, parameters: {weight: [0, 1]}}]",
            "need the names of its tensors: x: ",
        ),
        (
            "merge_method: linear\nmodels: [{model: x, parameters: {weight: [0, a]}}]",
            "weight: [0, 'a'] is not a number",
        ),
        (
            "merge_method: linear\nmodels: [{model: x, parameters: {weight: one}}]",
            "weight: 'one' is not a number, a list",
        ),
        (
            f"merge_method: linear\nmodels: [{{model: x, parameters: {{weight: 1{400 * '0'}}}}}]",
            "is not a number, a list",
        ),
        (
            "merge_method: linear\nmodels: [{model: x, parameters: {weight: [{filter: 3, value: 1}]}}]",
            "weight: the filter 3 is not text",
        ),
        ("merge_method: linear\nmodels: [{model: x, parameters: {weight: true}}]", "weight: True is not a number"),
        (
            "merge_method: slerp\nbase_model: b\nmodels: [{model: b}, {model: x}]",
            "parameters: has no t",
        ),
        (
            "merge_method: slerp\nbase_model: b\nmodels: [{model: x}, {model: y}]\nparameters: {t: 0.5}",
            "slerp is between base_model and one other model, there are 2 others",
        ),
        (
            "merge_method: ties\nbase_model: b\nmodels: [{model: x}]\nparameters: {weight: 1, normalize: 1}",
            "normalize: 1 is neither true nor false",
        ),
        ("merge_method: linear\nmodels: [{model: x, parameters: {density: 1}}]", "parameter of linear 'density'"),
        ("merge_method: linear\nmodels: [{model: x, parameters: {weight: 0}}]", "cannot be normalized"),
        ("merge_method: linear\nparameters: {int8: true}\nmodels: [{model: x}]", "parameter of linear 'int8'"),
        (
            "merge_method: slerp\nbase_model: b\nmodels: [{model: b, parameters: {weight: 1}}, {model: x}]",
            "parameter of slerp 'weight'",
        ),
        ("merge_method: task_arithmetic\nmodels: [{model: x, parameters: {weight: 1}}]", "base_model: "),
        ("merge_method: task_arithmetic\nbase_model: [b]\nmodels: [{model: x}]", "base_model: ['b'] is not text"),
        (
            "merge_method: task_arithmetic\nbase_model: b\nmodels: [{model: b}]",
            "a recipe needs `run`, or `base` and at least one",
        ),
    ],
)
def test_what_has_no_counterpart_is_refused(text: str, named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


SHARED = {
    "linear": ("normalize", "int8_mask"),
    "ties": ("normalize", "lambda", "int8_mask"),
    "dare_ties": ("normalize", "lambda", "rescale"),
    "slerp": ("t",),
}


@pytest.mark.parametrize(("method", "key"), [(method, key) for method, keys in SHARED.items() for key in keys])
@pytest.mark.parametrize("model", ["b", "x"])
def test_a_parameter_of_the_whole_merge_under_one_model_is_refused(method: str, key: str, model: str) -> None:
    """mergekit reads it at the top and of a slice only, so that it would have no effect."""
    value = 0.5 if key in ("t", "lambda") else False
    own = {} if method == "slerp" else {"weight": 1}
    models = [{"model": name, "parameters": own | ({key: value} if name == model else {})} for name in "bx"]
    values = {"merge_method": method, "base_model": "b", "models": models}
    values |= {"parameters": {"t": 0.3}} if method == "slerp" else {}
    with pytest.raises(RecipeError, match=f"models: '{model}': {key} is of the whole merge and has no effect under"):
        from_mergekit(values)
    del models["bx".index(model)]["parameters"][key]
    from_mergekit({**values, "parameters": {key: value}})


def test_a_parameter_of_the_whole_merge_may_stand_at_its_slice() -> None:
    sources = [{"model": name, "layer_range": [0, 1]} for name in "bx"]
    one = {"sources": sources, "parameters": {"t": 0.3}}
    values = {"merge_method": "slerp", "base_model": "b", "slices": [one], "parameters": {"t": 0.5}}
    assert from_mergekit(values, names=lambda base: ["model.layers.0.mlp.up_proj.weight"]).params["t"] == 0.3
    sources[1]["parameters"] = {"t": 0.4}
    with pytest.raises(RecipeError, match="'x': t is of the whole merge"):
        from_mergekit(values)


def test_a_weight_of_the_base_is_taken_as_mergekit_does_and_said(tmp_path: Path) -> None:
    """mergekit's examples/vlm-ties.yml gives the base both; where all models count it is no base but one of them."""
    models = [{"model": name, "parameters": {"density": 0.5, "weight": 1}} for name in "bx"]
    said: list[str] = []
    values = {"merge_method": "ties", "base_model": "b", "models": models}
    recipe = from_mergekit(values, "r.yml", remark=said.append)
    assert (recipe.fine_tuned, recipe.params["weight"]) == (("x",), [1.0])
    unused = "base_model 'b' has no task vector: no effect of its density and weight, as in mergekit"
    assert said == [f"r.yml: {unused}"]
    (tmp_path / "r.yml").write_text(safe_yaml.dump(values))
    assert f"warning: {tmp_path / 'r.yml'}: {unused}" in call("merge", str(tmp_path / "r.yml"), "-o", "out").err
    said.clear()
    del models[0]["parameters"]
    from_mergekit(values, remark=said.append)
    linear = {"merge_method": "linear", "base_model": "b", "models": [{"model": "b", "parameters": {"weight": 2}}]}
    assert (from_mergekit(linear, remark=said.append).params["weight"], said) == ([2.0], [])


TIES = """
models:
  - model: {1}
    parameters:
      density: [1, 0.7, 0.1]
      weight: 1.0
  - model: {2}
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1]
  - model: {3}
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: {0}
parameters:
  normalize: true
  int8_mask: true
dtype: float32
"""
"""mergekit's examples/ties.yml, with paths."""

GRADIENT_SLERP = """
slices:
  - sources:
      - model: {0}
        layer_range: [0, 4]
      - model: {1}
        layer_range: [0, 4]
merge_method: slerp
base_model: {0}
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
dtype: float32
"""
"""mergekit's examples/gradient-slerp.yml, with paths and the number of layers."""

DARE = """
merge_method: {method}
base_model: {0}
models:
  - {{model: {1}, parameters: {{weight: 0.6, density: 0.5}}}}
  - {{model: {2}, parameters: {{weight: 0.4, density: 0.7}}}}
parameters: {{normalize: {normalize}, lambda: 0.9, rescale: {rescale}}}
"""


def interpolated(values: list[float], name: str, after: float) -> float:
    """A gradient over four blocks, by NumPy; what comes after them has the value `after`."""
    place = int(name.split("layers.")[1][0]) / 3 if "layers." in name else 0.0 if "embed" in name else after
    return float(np.interp(place, np.linspace(0, 1, len(values)), values))


def merged_family(tmp_path: Path, text: str, tasks: int, **more: object) -> tuple[dict, list[dict], dict]:
    base, tuned = family(tmp_path, blocks=4, tasks=tasks)
    (tmp_path / "r.yml").write_text(text.format(base, *tuned, **more))
    result = call("merge", str(tmp_path / "r.yml"), "-o", str(tmp_path / "out"), "--quiet")
    assert (result.code, result.err) == (0, "")
    read = [load_file(path / "model.safetensors") for path in (base, *tuned, tmp_path / "out")]
    wide = [{name: value.astype(np.float64) for name, value in one.items()} for one in read]
    return wide[0], wide[1:-1], wide[-1]


def test_ties_with_gradients_and_filters_is_what_mergekit_defines(tmp_path: Path) -> None:
    base, tuned, merged = merged_family(tmp_path, TIES, 3)
    for name, start in base.items():
        density = (interpolated([1, 0.7, 0.1], name, 1.0), 0.5, 0.33)
        weight = (1.0, interpolated([0, 0.3, 0.7, 1], name, 1.0), 0.5 if "mlp" in name else 0.0)
        wanted = start + reference.mergekit_ties([one[name] - start for one in tuned], weight, density)
        if "layers." in name or "embed" in name:
            np.testing.assert_allclose(merged[name], wanted, atol=1e-7, err_msg=name)


def test_gradient_slerp_is_what_mergekit_defines(tmp_path: Path) -> None:
    base, (other,), merged = merged_family(tmp_path, GRADIENT_SLERP, 1)
    for name, start in base.items():
        t = 0.5
        if "self_attn" in name:
            t = interpolated([0, 0.5, 0.3, 0.7, 1], name, 1.0)
        elif "mlp" in name:
            t = interpolated([1, 0.5, 0.7, 0.3, 0], name, 1.0)
        np.testing.assert_allclose(merged[name], averages.slerp(start, other[name], t), atol=1e-7, err_msg=name)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_given_the_masks_is_what_mergekit_defines(
    tmp_path: Path, method: str, normalize: bool, rescale: bool
) -> None:
    words = {"method": method, "normalize": str(normalize).lower(), "rescale": str(rescale).lower()}
    base, tuned, merged = merged_family(tmp_path, DARE, 2, **words)
    for name, start in base.items():
        masks = [keep_mask(torch.Size(start.shape), p, 0, name, n).numpy() for n, p in enumerate((0.5, 0.7))]
        deltas = [(one[name] - start) * mask for one, mask in zip(tuned, masks, strict=True)]
        if rescale:
            deltas = [
                reference.mergekit_rescaled(one[name] - start, mask) for one, mask in zip(tuned, masks, strict=True)
            ]
        if method == "dare_ties":
            wanted = reference.mergekit_consensus(deltas, (0.6, 0.4), normalize, 0.9)
        else:
            wanted = 0.9 * (0.6 * deltas[0] + 0.4 * deltas[1])
        np.testing.assert_allclose(merged[name], start + wanted, atol=1e-7, err_msg=name)


def test_linear_without_normalize_sums_whole_models(tmp_path: Path) -> None:
    text = "merge_method: linear\nmodels:\n- {{model: {0}, parameters: {{weight: 1}}}}\n"
    text += "- {{model: {1}, parameters: {{weight: 0.5}}}}\nparameters: {{normalize: false}}"
    base, (other,), merged = merged_family(tmp_path, text, 1)
    for name, start in base.items():
        np.testing.assert_allclose(merged[name], start + 0.5 * other[name], atol=1e-6)


def test_a_gradient_makes_one_override_per_block_and_survives_the_yaml() -> None:
    names = [f"model.layers.{n}.mlp.up_proj.weight" for n in range(3)]
    names += ["model.embed_tokens.weight", "lm_head.weight"]
    text = "merge_method: slerp\nbase_model: b\nmodels: [{model: b}, {model: x}]\nparameters: {t: [0, 1]}"
    recipe = from_mergekit(safe_yaml.load(text), names=lambda base: names)
    assert [str(one) for one in recipe.param_overrides] == [
        *("blocks 0:t=0.0", "blocks 1:t=0.5", "blocks 2:t=1.0"),
        *("layer model.embed_tokens.weight:t=0.0", "layer lm_head.weight:t=1.0"),
    ]
    assert recipe.params == {"variant": "mergekit"}
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_slices_must_be_whole_models_and_filters_must_reach_all() -> None:
    names = [f"model.layers.{n}.mlp.up_proj.weight" for n in range(3)]
    sources = "sources: [{model: b, layer_range: [0, 2]}, {model: x, layer_range: [0, 2]}]"
    text = f"merge_method: slerp\nbase_model: b\nslices: [{{{sources}}}]\nparameters: {{t: 0.5}}"
    with pytest.raises(RecipeError, match=r"layer_range \[0, 2\] of 3 layers: only whole models"):
        from_mergekit(safe_yaml.load(text), names=lambda base: names)
    filters = "merge_method: slerp\nbase_model: b\nmodels: [{model: x}]\nparameters: {t: [{filter: attn, value: 1}]}"
    with pytest.raises(RecipeError, match=r"has no t for model.layers.0.mlp.up_proj.weight"):
        from_mergekit(safe_yaml.load(filters), names=lambda base: names)


def test_the_tokenizer_of_a_model_is_taken(tmp_path: Path) -> None:
    base, tuned = family(tmp_path, tasks=1)
    (tuned[0] / "tokenizer.json").write_text("{}")
    text = "merge_method: task_arithmetic\nbase_model: {0}\nmodels: [{{model: {1}, parameters: {{weight: 1}}}}]\n"
    recipe = read((text + "tokenizer_source: {1}").format(base, tuned[0]))
    run_merge(recipe, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").exists()
    assert read((text + "tokenizer_source: base").format(base, tuned[0])).tokenizer_from is None


def test_a_union_and_a_model_decide_the_tokens() -> None:
    text = "merge_method: task_arithmetic\nbase_model: b\nmodels:\n"
    text += "- {model: x, parameters: {weight: 1}}\n- {model: y, parameters: {weight: 1}}\n"
    union = from_mergekit(safe_yaml.load(text + "tokenizer: {source: union}"))
    assert (union.vocab, union.tokenizer_from) == ("union", None)
    other = from_mergekit(safe_yaml.load(text + "tokenizer_source: y"))
    assert (other.vocab, other.tokenizer_from) == ("ft2", "y")
    strange = from_mergekit(safe_yaml.load(text + "tokenizer_source: z"))
    assert (strange.vocab, strange.tokenizer_from) == (None, "z")


def test_an_adapter_on_the_base_is_a_fine_tune() -> None:
    text = "merge_method: ties\nbase_model: b\nmodels: [{model: b+lora, parameters: {weight: 1}}]"
    assert from_mergekit(safe_yaml.load(text)).fine_tuned == ("lora",)
    with pytest.raises(RecipeError, match=r"'x\+lora' is a model with an adapter; only base_model may have one"):
        from_mergekit(safe_yaml.load(text.replace("b+lora", "x+lora")))


def test_several_merges_in_one_file_are_refused_in_words() -> None:
    with pytest.raises(RecipeError, match="line 2: a second merge begins here; give each one a file of its own"):
        safe_yaml.load("merge_method: linear\n---\nmerge_method: ties\n")


@pytest.mark.parametrize("asked", ["text", "auto"])
def test_the_chat_template_is_the_one_asked_for(tmp_path: Path, asked: str) -> None:
    """As Jinja text, or with auto the one that most models have; nothing of another template is left."""
    base, tuned = family(tmp_path, tasks=2)
    for path, template in ((base, "{{ old }}"), (tuned[0], "{{ new }}"), (tuned[1], "{{ new }}")):
        (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, "pad": 1}))
    (base / "chat_template.json").write_text(json.dumps({"chat_template": "{{ old }}"}))
    text = f"merge_method: task_arithmetic\nbase_model: {base}\nmodels:\n"
    text += "".join(f"- {{model: {path}, parameters: {{weight: 1}}}}\n" for path in tuned)
    recipe = read(text + f"chat_template: {'auto' if asked == 'auto' else repr('{{ new }}')}\n")
    assert recipe == Recipe.from_yaml(recipe.to_yaml())
    run_merge(recipe, tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ new }}"
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text()) == {"pad": 1}
    assert not (tmp_path / "out" / "chat_template.json").exists()
