"""Recipes: the round trip through YAML, and what strangers may put into one."""

from __future__ import annotations

import contextlib
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globa_tui import safe_yaml
from globa_tui.coefficients import PATTERNS, Coefficients, Override, RecipeError, Target
from globa_tui.recipe import DTYPES, Recipe, parse_coef
from globa_tui.values import about_size, format_size, param_text, parse_numbers, parse_param, parse_size
from tests.cli.test_coefficients import coefficients, targets, values

words = st.text(min_size=1)
scalars = st.one_of(st.booleans(), st.integers(), values, st.text())
param_names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
settings = st.fixed_dictionaries({}, optional={"eta": st.just([0.9, 0.8]), "basis": st.just("anchored")})
sources = st.fixed_dictionaries(
    {"base": words, "fine_tuned": st.lists(words, min_size=2, max_size=2).map(tuple)}
).flatmap(
    lambda named: st.one_of(
        words.map(lambda run: {**named, "run": run}), settings.map(lambda s: {**named, "settings": s})
    )
)
recipes = st.builds(
    lambda named, **others: Recipe(**named, **others),
    sources,
    method=st.sampled_from(["globa", "ties"]),
    coefficients=st.fixed_dictionaries(dict.fromkeys(PATTERNS, values)).map(Coefficients),
    overrides=st.lists(st.builds(Override, targets, coefficients), max_size=3).map(tuple),
    params=st.dictionaries(param_names, scalars | st.lists(scalars, max_size=3), max_size=3),
    skip_weights=st.lists(values, max_size=2).map(tuple),
    dtype=st.none() | st.sampled_from(DTYPES),
    shard_size=st.integers(1, 10**14),
)


@given(recipes)
def test_yaml_round_trip(recipe: Recipe) -> None:
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@given(st.text())
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    with contextlib.suppress(RecipeError):
        Recipe.from_yaml(text)


BOMB = "a: &a [x,x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(BOMB, "line 2: aliases (*name) are not allowed", id="bomb"),
        ("run: !!python/object/apply:os.system [id]", "could not determine a constructor for the tag"),
        ("run: !secret x", "could not determine a constructor for the tag '!secret'"),
        ("run: x\ncoeficients: {A: 1}", "unknown key 'coeficients'; known are base, chat_template, coefficients"),
        ("run: x\nrun: y", "line 2: the key 'run' is given twice"),
        ("run: x\ncoefficients: {A: 1, A: 2}", "the key 'A' is given twice"),
        ("? [a, b]\n: c", "a key must be one word"),
        ("1: x", "the key 1 is not a word"),
        ("- run", "a recipe is a mapping of words to values, this is list"),
        ("", "a recipe is a mapping of words to values, this is NoneType"),
        pytest.param("[" * 5000, "nested too deeply", id="deep"),
        ("run: [", "line 1: expected the node content"),
        ("run: \x07", "recipe: unacceptable character"),
        ("run: 2024-99-99", "cannot be read as YAML"),
        pytest.param("run: 1" + "0" * 5000, "cannot be read as YAML", id="long"),
        ("run: 3", "run: 3 is not text"),
        ("run: no", "run: False is not text"),
        ("base: x", "a recipe needs `run`, or `base` and at least one of `fine_tuned`"),
        ("base: x\nfine_tuned: y", "fine_tuned: 'y' is not a list"),
        ("base: x\nfine_tuned: [1]", "fine_tuned: 1 is not text"),
        ("run: x\ncoefficients: {Z: 1}", "unknown pattern 'Z'"),
        ("run: x\ncoefficients: {A: .nan}", "must be a finite number"),
        ("run: x\ncoefficients: {A: true}", "must be a finite number"),
        ("run: x\ncoefficients: [A]", "coefficients: ['A'] is not a mapping"),
        ("run: x\noverrides: [{target: mlp}]", "is not 'mlp:D-=0' or a mapping with target and coefficients"),
        ("run: x\noverrides: [{target: 'a b c', coefficients: {A: 1}}]", "cannot read the target 'a b c'"),
        ("base: x\nfine_tuned: [y]\nsettings: {eta: 2}", "eta is 2"),
        ("run: x\nsettings: {eta: [0.5]}", "settings: x was analysed with its own"),
        ("base: x\nfine_tuned: [y]\nsettings: {eta: [2.0]}", "--eta is 2.0: a share of energy lies in (0, 1]"),
        ("base: x\nfine_tuned: [y]\nsettings: {etta: [0.5]}", "unknown analysis setting 'etta'"),
        ("run: x\nparams: {density: {a: 1}}", "params: density is {'a': 1}"),
        ("run: x\nparams: {density: .inf}", "params: density is inf"),
        ("run: x\nskip_weights: [a]", "skip_weights: 'a' is not a finite number"),
        (f"run: x\nskip_weights: [1{400 * '0'}]", "is not a finite number"),
        (f"run: x\ncoefficients: {{A: 1{400 * '0'}}}", "it must be a finite number"),
        ("run: x\nfine_tuned: [a, b]\nskip_weights: [1, 2, 3]", "skip_weights: 3 values for 2 fine-tunes"),
        ("run: x\ndtype: int8", "dtype: 'int8' is not one of float32, float16, bfloat16, float64"),
        ("run: x\nshard_size: 0", "is not a size such as 5GB"),
        ("run: x\nshard_size: yes", "is not a size such as 5GB"),
        ("run: x\nmethod: ''", "method: give the name of a merge method"),
        ("run: x\npreset: best", "unknown preset 'best'"),
        ("run: x\nformat: 2", "format 2 is not 1"),
    ],
)
def test_hostile_or_mistaken_yaml_is_one_line(text: str, named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(text)
    assert named in str(caught.value)
    assert str(caught.value).startswith("recipe")
    assert "\n" not in str(caught.value)


def test_short_recipes_by_hand() -> None:
    """Left-out keys have defaults, a preset fills in coefficients, overrides may be written as on the command line."""
    text = "run: r\npreset: all\ncoefficients: {D-: 1e-3}\noverrides: ['mlp:A=0']\nparams: {density: 2e-1}"
    text += "\nshard_size: 2GB"
    recipe = Recipe.from_yaml(text)
    assert recipe.coefficients == Coefficients({**dict.fromkeys(PATTERNS, 1), "D-": 0.001})
    assert recipe.overrides == (parse_coef("mlp:A=0"),)
    assert recipe.params == {"density": 0.2}
    assert recipe.shard_size == 2_000_000_000
    assert Recipe.from_yaml("run: r") == Recipe(run="r")


def test_files_are_bounded_and_text(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfrun: r\n")
    assert Recipe.read(path) == Recipe(run="r")
    path.write_bytes(b"run: \xff\n")
    with pytest.raises(RecipeError, match="not UTF-8 text"):
        Recipe.read(path)
    path.write_bytes(b"#" * (safe_yaml.MAX_BYTES + 1))
    with pytest.raises(RecipeError, match="larger than 1,000,000 bytes"):
        Recipe.read(path)


def test_skip_weights_default_to_the_mean() -> None:
    assert Recipe(run="r").skip_weights_for(2) == (0.5, 0.5)
    assert Recipe(run="r", skip_weights=(0.3,)).skip_weights_for(3) == (0.3, 0.3, 0.3)


def test_equivalent_command() -> None:
    recipe = Recipe(run="my run", dtype="float16", shard_size=10**9, skip_weights=(0.4, 0.6))
    recipe = recipe.with_override(parse_coef("A=1")).with_override(parse_coef("layer it's:E=0"))
    line = recipe.equivalent_command("out")
    assert shlex.split(line) == [
        *("globa-tui", "merge", "my run", "-o", "out"),
        *("--coef", "C1=1,A=1,B=0,C=0,D+=0,D-=1,E=1", "--coef", "layer it's:E=0"),
        *("--skip-weights", "0.4,0.6", "--dtype", "float16", "--shard-size", "1GB"),
    ]
    ties = Recipe(base="b", fine_tuned=("x", "y"), method="ties", params={"density": 0.2, "normalize": True})
    assert ties.equivalent_command() == (
        "globa-tui merge b x y -o OUT --method ties --param density=0.2 --param normalize=true"
    )


@given(st.integers(1, 10**15))
def test_size_round_trip(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_sizes() -> None:
    assert [parse_size(text) for text in ("5GB", "1.5 MB", "4GiB", "17", 17)] == [5 * 10**9, 1_500_000, 2**32, 17, 17]
    assert [about_size(size) for size in (0, 999, 1000, 1_234_567, 999_700_000, 5e12)] == [
        *("0 B", "999 B", "1 kB", "1.23 MB", "1 GB", "5 TB"),
    ]


@given(st.sampled_from([True, False, 3, -1, 0.25, 1e-30, "paper", [0.5, 0.3], ["a", 1, True]]))
def test_param_round_trip(value: Any) -> None:
    assert parse_param(f"some-name={param_text(value)}") == ("some_name", value)


@pytest.mark.parametrize("text", ["density", "=1", "density=", "two words=1"])
def test_bad_params(text: str) -> None:
    with pytest.raises(RecipeError, match="is not NAME=VALUE"):
        parse_param(text)


@pytest.mark.parametrize("text", ["", "a", "0.5,", "nan", "0.5;0.6"])
def test_bad_numbers(text: str) -> None:
    with pytest.raises(RecipeError, match="--eta"):
        parse_numbers("--eta", text)


def test_other_methods_list_no_coefficients_that_nobody_gave() -> None:
    plain = Recipe(base="b", fine_tuned=("f", "g"), method="ties")
    assert "coefficients" not in plain.to_dict()
    assert "coefficients" in Recipe(base="b", fine_tuned=("f", "g")).to_dict()
    given = plain.with_values(Target("model"), {"A": 0.3})
    assert given.to_dict()["coefficients"]["A"] == 0.3
    assert Recipe.from_yaml(given.to_yaml()) == given
