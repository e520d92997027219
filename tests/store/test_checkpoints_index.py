"""Bases and fine-tunes are paired by name, and everything that does not pair is said."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.checkpoints import Checkpoint, Index, build_index
from store.errors import MismatchError
from tests.store import make

LLAMA = make.described(make.llama_shapes())


def messages(index: Index, severity: str, code: str) -> list[str]:
    found = [f for f in index.findings if f.code == code]
    assert all(f.severity == severity and f.message.isprintable() for f in found)
    return [f.message for f in found]


def with_shapes(**shapes: tuple[int, ...] | None) -> Checkpoint:
    """The Llama with some shapes changed, added, or (None) dropped; ``__`` stands for a dot."""
    changes = {name.replace("__", "."): shape for name, shape in shapes.items()}
    merged: dict[str, tuple[int, ...] | None] = {**make.llama_shapes(), **changes}
    return make.described({name: shape for name, shape in merged.items() if shape is not None})


def test_a_model_pairs_with_itself_without_findings() -> None:
    index = build_index(LLAMA, [LLAMA, LLAMA])
    assert not index.findings
    index.require_mergeable()
    assert [layer.name for layer in index.layers] == list(LLAMA.tensors)
    assert [layer.index for layer in index.layers] == list(range(len(LLAMA.tensors)))
    assert all(layer.fine_tuned == (layer.name, layer.name) for layer in index.layers)
    first = index.layers[1]
    assert (first.kind, first.block, first.role, first.shape, first.dtype) == ("q_proj", 0, "matrix", (4, 4), "F32")


@pytest.mark.parametrize("prefix", ["bert.", "model.", "transformer.", "base_model.model.", "module."])
@pytest.mark.parametrize("on_base", [True, False])
def test_one_side_may_carry_a_prefix(prefix: str, on_base: bool) -> None:
    plain = make.described({name.removeprefix("model."): shape for name, shape in make.llama_shapes().items()})
    carrying = make.renamed(plain, "", prefix)
    base, fine_tuned = (carrying, plain) if on_base else (plain, carrying)
    index = build_index(base, [fine_tuned])
    assert [layer.fine_tuned[0] for layer in index.layers] == list(fine_tuned.tensors)
    assert len(messages(index, "info", "prefix")) == len(index.findings) == 1
    assert f"'{prefix}'" in index.findings[0].message


def test_heads_outside_the_prefixed_part_still_pair() -> None:
    index = build_index(LLAMA, [make.renamed(LLAMA, "model.", "")])
    names = {layer.name: layer.fine_tuned[0] for layer in index.layers}
    assert names["lm_head.weight"] == "lm_head.weight"
    assert names["model.norm.weight"] == "norm.weight"
    assert None not in names.values()


def test_each_fine_tune_has_a_prefix_of_its_own() -> None:
    others = [make.renamed(LLAMA, "model.", new) for new in ("", "model.", "language.model.")]
    index = build_index(LLAMA, others)
    assert index.layers[0].fine_tuned == (
        "embed_tokens.weight",
        "model.embed_tokens.weight",
        "language.model.embed_tokens.weight",
    )
    assert [f.message.split(":")[0] for f in index.findings if f.code == "prefix"] == ["ft1", "ft3"]


def test_the_prefix_that_pairs_most_equal_shapes_wins() -> None:
    """One encoder of the fine-tune has more of the base's names; the other has its shapes."""
    base = make.described({f"layer.{number}.weight": (4, 4) for number in range(3)})
    vision = {f"vision.layer.{number}.weight": (8, 4) for number in range(3)}
    text = {f"text.layer.{number}.weight": (4, 4) for number in range(2)}
    index = build_index(base, [make.described({**vision, **text})])
    assert [layer.fine_tuned[0] for layer in index.layers] == [*text, None]
    assert not index.errors
    assert len(messages(index, "info", "extra")) == 3


def test_a_tensor_is_not_paired_twice() -> None:
    """With the prefix ``x.`` two tensors pair; that takes the fine-tune's ``a``, so the base's own ``a`` has none."""
    base = make.described({"a.weight": (2, 2), "x.a.weight": (2, 2), "x.b.weight": (2, 2)})
    index = build_index(base, [make.described({"a.weight": (2, 2), "b.weight": (2, 2)})])
    assert [layer.fine_tuned[0] for layer in index.layers] == [None, "a.weight", "b.weight"]


def test_unchanged_names_win_a_tie() -> None:
    both = make.described({"layer.weight": (2, 2), "x.layer.weight": (2, 2)})
    index = build_index(both, [both])
    assert [layer.fine_tuned[0] for layer in index.layers] == ["layer.weight", "x.layer.weight"]


def test_extra_and_missing_tensors_are_reported() -> None:
    index = build_index(LLAMA, [LLAMA, with_shapes(score__weight=(3, 4), lm_head__weight=None)])
    assert messages(index, "info", "extra") == ["score.weight: only in ft2: left out"]
    assert messages(index, "warning", "missing") == ["lm_head.weight: not in ft2: counts as unchanged"]
    assert len(index.findings) == 2
    assert index.layers[-1].fine_tuned == ("lm_head.weight", None)
    index.require_mergeable()


def test_a_shape_that_differs_names_both_shapes_and_the_cure() -> None:
    index = build_index(LLAMA, [LLAMA, with_shapes(model__layers__1__mlp__up_proj__weight=(8, 4))])
    assert messages(index, "error", "shape") == [
        "model.layers.1.mlp.up_proj.weight: base has [4, 4], ft2 has [8, 4] (described); "
        "name a fine-tune of the same architecture and size"
    ]
    assert [f.tensor for f in index.errors] == ["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(MismatchError, match=r"^model.layers.1.mlp.up_proj.weight: base has \[4, 4\]"):
        index.require_mergeable()


def test_another_vocabulary_is_matched_and_what_is_left_out_is_a_warning() -> None:
    index = build_index(LLAMA, [with_shapes(model__embed_tokens__weight=(12, 4), lm_head__weight=(12, 4))])
    assert not index.errors
    [text] = messages(index, "warning", "vocabulary")
    assert text.startswith("ft1: 12 rows of tokens, the base has 10; matched by row number, for want of tokenizers")
    assert text.endswith("2 rows only there (first: row 10): 2 left out, --vocab union or ft1 keeps them")


def test_embeddings_of_another_width_are_a_shape_error() -> None:
    index = build_index(LLAMA, [with_shapes(model__embed_tokens__weight=(12, 5))])
    [text, rows] = messages(index, "error", "shape")
    assert text.startswith("model.embed_tokens.weight: base has [10, 4], ft1 has [12, 5]")
    assert "its token tables have 10 and 12 rows" in rows


def test_a_model_of_another_size_is_all_errors() -> None:
    index = build_index(LLAMA, [make.described(make.llama_shapes(width=8))])
    assert len(index.errors) == len(LLAMA.tensors)


def test_other_types_are_reported_once_for_all_tensors() -> None:
    index = build_index(LLAMA, [make.described(make.llama_shapes(), dtype="BF16")])
    (text,) = messages(index, "info", "dtype")
    assert text.startswith("model.embed_tokens.weight and 12 more: base has F32, ft1 has BF16")
    index.require_mergeable()


def test_nothing_in_common_is_an_error_that_shows_names_of_both() -> None:
    index = build_index(LLAMA, [LLAMA, make.described({"conv1.kernel": (3, 3)})])
    (text,) = messages(index, "error", "nothing")
    assert "base has model.embed_tokens.weight, ft2 has conv1.kernel" in text
    assert len(index.findings) == 1
    assert all(layer.fine_tuned == (layer.name, None) for layer in index.layers)


def test_quantised_checkpoints_are_refused() -> None:
    quantised = make.described({**make.llama_shapes(), "model.layers.0.mlp.up_proj.weight_scale_inv": (1, 1)})
    assert "ft1 (described) is quantised" in messages(build_index(LLAMA, [quantised]), "error", "quantised")[0]
    assert "base (described) is quantised" in messages(build_index(quantised, [LLAMA]), "error", "quantised")[0]


class TestTies:
    """Output embeddings that are the input embeddings."""

    shapes = make.llama_shapes()
    without = {name: shape for name, shape in shapes.items() if name != "lm_head.weight"}

    @pytest.mark.parametrize(
        "config", [{"tie_word_embeddings": True}, {"text_config": {"tie_word_embeddings": True}, "x": 1}]
    )
    def test_the_config_ties_a_stored_head(self, config: dict[str, object]) -> None:
        tied = make.described(self.shapes, config=config)
        index = build_index(tied, [tied])
        assert index.layers[-1].tied_to == "model.embed_tokens.weight"
        assert [layer.tied_to for layer in index.layers[:-1]] == [None] * (len(index.layers) - 1)

    @pytest.mark.parametrize("config", [{}, {"tie_word_embeddings": False}, {"tie_word_embeddings": "yes"}])
    def test_no_tie_without_evidence(self, config: dict[str, object]) -> None:
        untied = make.described(self.shapes, config=config)
        assert build_index(untied, [untied]).layers[-1].tied_to is None

    def test_embeddings_of_another_shape_are_not_tied(self) -> None:
        odd = make.described({**self.shapes, "lm_head.weight": (11, 4)}, config={"tie_word_embeddings": True})
        assert build_index(odd, [odd]).layers[-1].tied_to is None

    def test_a_fine_tune_may_store_what_the_base_ties(self) -> None:
        base = make.described(self.without, config={"tie_word_embeddings": True})
        index = build_index(base, [make.described(self.shapes)])
        text = "lm_head.weight: a copy in ft1, tied to model.embed_tokens.weight in the base: left out"
        assert messages(index, "info", "tied") == [text]
        assert len(index.layers) == len(self.without)

    def test_a_fine_tune_that_broke_the_tie_is_a_warning(self) -> None:
        base = make.described(self.without, config={"tie_word_embeddings": True})
        index = build_index(base, [make.described(self.shapes, config={"tie_word_embeddings": False})])
        assert "output embeddings of its own" in messages(index, "warning", "untied")[0]

    def test_a_fine_tune_may_tie_what_the_base_stores(self) -> None:
        model = make.described(self.without, config={"tie_word_embeddings": True})
        index = build_index(LLAMA, [model])
        assert index.layers[-1].fine_tuned == ("model.embed_tokens.weight",)
        assert messages(index, "info", "tied") == [
            "lm_head.weight: tied to model.embed_tokens.weight in ft1, read from there"
        ]
        assert len(index.findings) == 1

    def test_the_head_repeats_the_embeddings_whichever_comes_first(self) -> None:
        shapes = {"lm_head.weight": (10, 4), "copy.weight": (10, 4), "embed_tokens.weight": (10, 4)}
        apart = make.described(shapes)
        together = {name: replace(header, offset=0) for name, header in apart.tensors.items()}
        index = build_index(replace(apart, tensors=together), [apart])
        assert [layer.tied_to for layer in index.layers] == ["copy.weight", None, "copy.weight"]

    def test_a_fine_tune_that_says_it_is_untied_is_believed(self) -> None:
        base = make.described(self.shapes, config={"tie_word_embeddings": True})
        index = build_index(base, [make.described(self.without, config={"tie_word_embeddings": False})])
        assert index.layers[-1].fine_tuned == (None,)
        assert messages(index, "warning", "missing") == ["lm_head.weight: not in ft1: counts as unchanged"]

    def test_a_silent_fine_tune_ties_when_the_base_does(self) -> None:
        base = make.described(self.shapes, config={"tie_word_embeddings": True})
        assert build_index(base, [make.described(self.without)]).layers[-1].fine_tuned == ("model.embed_tokens.weight",)
        assert build_index(LLAMA, [make.described(self.without)]).layers[-1].fine_tuned == (None,)


NAMES = st.lists(st.sampled_from(["a", "b", "layers", "0", "1", "weight"]), min_size=1, max_size=4).map(".".join)
SHAPES = st.dictionaries(NAMES, st.sampled_from([(2, 2), (3, 2), (2,)]), min_size=1, max_size=8)


@given(base=SHAPES, model=SHAPES)
def test_pairs_are_one_to_one_and_all_accounted_for(
    base: dict[str, tuple[int, ...]], model: dict[str, tuple[int, ...]]
) -> None:
    index = build_index(make.described(base), [make.described(model)])
    assert [layer.name for layer in index.layers] == list(base)
    names = [layer.fine_tuned[0] for layer in index.layers if layer.fine_tuned[0] is not None]
    assert len(names) == len(set(names))
    assert set(names) <= set(model)
    if not names:
        assert [f.code for f in index.errors] == ["nothing"]
        return
    codes = Counter(f.code for f in index.findings)
    assert codes["missing"] == len(base) - len(names)
    assert codes["extra"] == len(model) - len(names)
    assert codes["shape"] == sum(
        base[layer.name] != model[layer.fine_tuned[0]] for layer in index.layers if layer.fine_tuned[0] is not None
    )


def test_output_embeddings_of_a_fine_tunes_own_are_named() -> None:
    shapes = make.llama_shapes()
    tied = make.described(shapes, config={"tie_word_embeddings": True})
    own = make.described(shapes, config={"tie_word_embeddings": False})
    (text,) = messages(build_index(tied, [own]), "warning", "untied")
    assert text.startswith("lm_head.weight: ft1 stores output embeddings of its own")
    assert not messages(build_index(tied, [tied]), "warning", "untied")
