"""Coefficients and targets: reading them, and which one is nearest."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globa_tui.coefficients import GROUPS, PATTERNS, Coefficients, Override, RecipeError, Target, parse_coef
from globa_tui.presets import ANALYSIS_PRESETS, MERGE_PRESETS, analysis_preset, merge_preset
from globa_tui.recipe import Recipe

values = st.floats(allow_nan=False, allow_infinity=False)
coefficients = st.dictionaries(st.sampled_from(PATTERNS), values, min_size=1).map(Coefficients)
targets = st.one_of(
    st.just(Target()),
    st.sampled_from(sorted(GROUPS)).map(lambda name: Target("group", name)),
    st.from_regex(r"[a-z]{2,8}_proj", fullmatch=True).map(lambda name: Target("kind", name)),
    st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda ends: Target("blocks", "", min(ends), max(ends))),
    st.text(min_size=1).map(lambda name: Target("layer", name)),
)

MLP = {"name": "model.layers.3.mlp.up_proj.weight", "kind": "up_proj", "block": 3}
HEAD = {"name": "lm_head.weight", "kind": "lm_head", "block": None}


@given(targets, coefficients)
def test_coef_round_trip(target: Target, given_values: Coefficients) -> None:
    """What an override writes, `--coef` reads back."""
    override = Override(target, given_values)
    assert parse_coef(str(override)) == override


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but `RecipeError` comes out, whatever goes in."""
    with contextlib.suppress(RecipeError):
        parse_coef(text)


def test_reads_all_forms() -> None:
    assert parse_coef("A=1,B=0.5") == Override(Target(), Coefficients({"A": 1, "B": 0.5}))
    assert parse_coef("mlp:D-=0") == Override(Target("group", "mlp"), Coefficients({"D-": 0}))
    assert parse_coef("attention: D−=0") == Override(Target("group", "attn"), Coefficients({"D-": 0}))
    assert parse_coef("q_proj:e=2") == Override(Target("kind", "q_proj"), Coefficients({"E": 2}))
    assert parse_coef("blocks 0-7:A=1").target == Target("blocks", "", 0, 7)
    assert parse_coef("block 3:A=1").target == Target("blocks", "", 3, 3)
    assert parse_coef("layer a:b.weight:A=1").target == Target("layer", "a:b.weight")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Z=1", "'Z'; the patterns are C1, A, B, C, D+, D-, E"),
        ("D=1", "unknown pattern 'D'"),
        ("A", "'A' is not PATTERN=NUMBER"),
        ("A=1,", "'' is not PATTERN=NUMBER"),
        ("", "is not PATTERN=NUMBER"),
        ("A=one", "the coefficient of A is 'one'"),
        ("A=nan", "must be a finite number"),
        ("A=1e999", "must be a finite number"),
        ("A=1,a=2", "A is given twice"),
        ("blocks 7-0:A=1", "the first block comes after the last"),
        ("blocks x:A=1", "cannot read the target 'blocks x'"),
        ("blocks:A=1", "cannot read the target"),
        ("layer:A=1", "cannot read the target"),
    ],
)
def test_refuses(text: str, named: str) -> None:
    with pytest.raises(RecipeError, match="^[^\n]*$") as caught:
        parse_coef(text)
    assert named in str(caught.value)


def recipe(*overrides: str) -> Recipe:
    return Recipe(run="r", overrides=tuple(map(parse_coef, overrides)))


def test_nearest_wins() -> None:
    """Layer before blocks before kind before group before model, whatever the order they are given in."""
    order = [f"layer {MLP['name']}:A=5", "blocks 0-7:A=4,B=4", "up_proj:A=3,B=3,C=3", "mlp:A=2,B=2,C=2,E=2"]
    for given_order in (order, order[::-1]):
        resolved = recipe(*given_order).resolve(MLP)
        assert resolved == {"C1": 1, "A": 5, "B": 4, "C": 3, "D+": 0, "D-": 1, "E": 2}
    assert recipe(*order).resolve(HEAD) == dict(merge_preset("readme").coefficients)


def test_smaller_range_is_nearer_and_later_wins_ties() -> None:
    assert recipe("blocks 3:A=1", "blocks 0-7:A=2").resolve(MLP)["A"] == 1
    assert recipe("blocks 3-4:A=1", "blocks 2-3:A=2").resolve(MLP)["A"] == 2
    assert recipe("mlp:A=1", "mlp:A=2").resolve(MLP)["A"] == 2


def test_a_layer_without_block_is_in_no_range() -> None:
    assert recipe("blocks 0-100:A=9").resolve(HEAD)["A"] == 0
    assert recipe("embeddings:A=9").resolve(HEAD)["A"] == 9


def test_unmatched_names_the_misspelt_override() -> None:
    misspelt = recipe("up_prjo:A=1", "mlp:A=1").unmatched([MLP, HEAD])
    assert [str(override) for override in misspelt] == ["up_prjo:A=1"]


def test_with_values_sets_and_inherits_again() -> None:
    mlp = Target("group", "mlp")
    changed = recipe().with_values(mlp, {"A": 1, "B": 2}).with_values(mlp, {"A": None, "E": 3})
    assert changed.overrides == (Override(mlp, Coefficients({"B": 2, "E": 3})),)
    assert changed.with_values(mlp, {"B": None, "E": None}) == recipe()
    assert recipe().with_values(Target(), {"A": 2}).coefficients["A"] == 2


def test_coefficients_are_immutable_values() -> None:
    first = Coefficients({"E": 1, "C1": 2.5})
    assert list(first) == ["C1", "E"]
    assert hash(first) == hash(Coefficients({"c1": 2.5, "E": 1}))
    assert str(first) == "C1=2.5,E=1"
    assert repr(first) == "Coefficients(C1=2.5,E=1)"
    assert len(first.updated({"E": None})) == 1


def test_presets_are_the_published_ones() -> None:
    readme = merge_preset("readme").coefficients
    assert {name for name, value in readme.items() if value} == {"C1", "D-", "E"}
    assert merge_preset("math-instruct-7b").coefficients == Coefficients(
        {"C1": 1, "A": 0.7, "B": 0.7, "C": 0.7, "D+": 0.7, "D-": 1.2, "E": 0.7}
    )
    assert set(merge_preset("uniform-0.6").coefficients.values()) == {0.6}
    assert all(set(preset.coefficients) == set(PATTERNS) for preset in MERGE_PRESETS.values())
    assert analysis_preset("7b-math-code").eta == (0.95, 0.80)
    assert analysis_preset("7b-instruct-code").eta == (0.70, 0.99)
    assert len(ANALYSIS_PRESETS) == 6


@pytest.mark.parametrize("find", [merge_preset, analysis_preset])
def test_unknown_preset_lists_the_known(find: object) -> None:
    assert callable(find)
    with pytest.raises(RecipeError, match="unknown preset 'x'; the presets are "):
        find("x")
