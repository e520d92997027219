"""mergekit's YAML: the numbers it means, and a plain no to what has no counterpart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from globa_tui import safe_yaml
from globa_tui.coefficients import RecipeError
from globa_tui.mergekit import from_mergekit, is_mergekit
from globa_tui.recipe import Recipe
from tests.cli.models import write_family
from tests.cli.records import call

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
        params={"weight": [0.5, 1.5], "scale": 0.4},
        dtype="float32",
    )
    linear = Recipe(base="x", fine_tuned=("x", "y"), method="linear", params={"weight": [0.25, 0.75]}, dtype="float32")
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


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("merge_method: model_stock\nmodels: []", "mergekit's method 'model_stock' is not read here"),
        ("merge_method: linear\nslices: []", "mergekit's key 'slices' is not read here"),
        ("merge_method: linear\ntokenizer: {}", "mergekit's key 'tokenizer' is not read here"),
        ("merge_method: linear", "models: a list of models is needed"),
        ("merge_method: linear\nmodels: [x]", "models: 'x' has no model: NAME"),
        ("merge_method: linear\nmodels: [{model: x}]", "models: 'x' has no weight"),
        ("merge_method: linear\nmodels: [{model: x+lora}]", "is a model with an adapter"),
        ("merge_method: linear\nmodels: [{model: x, parameters: {weight: [0, 1]}}]", "lists over layers and filters"),
        ("merge_method: linear\nmodels: [{model: x, parameters: {density: 1}}]", "parameter of linear 'density'"),
        ("merge_method: linear\nmodels: [{model: x, parameters: {weight: 0}}]", "cannot be normalized"),
        (
            "merge_method: linear\nmodels: [{model: x, parameters: {weight: 2}}]\nparameters: {normalize: false}",
            "that sum to 2 instead of 1",
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
