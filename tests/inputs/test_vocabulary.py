"""Models whose vocabularies differ: rows are matched by token, and every row of the result has an owner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from globa_tui.coefficients import RecipeError
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, SettingsError
from globa_tui.recipe import Recipe
from store.checkpoints import build_index, open_checkpoint
from store.errors import MismatchError
from store.run import Run
from tests.inputs.adapters import adapter
from tests.inputs.tokenizers import model, rows_of, tokenizer
from tests.store.make import single

BASE = ["a", "b", "c", "d", "e", "f"]
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def merge(tmp_path: Path, vocab: str | None = None, method: str = "task_arithmetic", models: int = 2) -> dict:
    names = tuple(str(tmp_path / f"ft{n}") for n in range(1, models + 1))
    out = tmp_path / f"out-{vocab}-{method}"
    recipe = Recipe(base=str(tmp_path / "base"), fine_tuned=names, method=method, vocab=vocab)
    run_merge(recipe, out)
    return {**load_file(out / "model.safetensors"), "config": json.loads((out / "config.json").read_text())}


def findings(tmp_path: Path, vocab: str = "base", models: int = 2) -> list[tuple[str, str]]:
    opened = [open_checkpoint(str(tmp_path / f"ft{n}")) for n in range(1, models + 1)]
    index = build_index(open_checkpoint(str(tmp_path / "base")), opened, vocab)
    return [(f.severity, f.message) for f in index.findings if f.code == "vocabulary"]


@pytest.fixture
def trio(tmp_path: Path) -> Path:
    """A base; ft1 adds a token and has two in exchanged rows; ft2 lacks the last token."""
    model(tmp_path / "base", rows_of(BASE), BASE)
    swapped = ["b", "a", *BASE[2:]]
    model(tmp_path / "ft1", rows_of([*swapped, "<x>"], 1.0), swapped, ["<x>"])
    model(tmp_path / "ft2", rows_of(BASE[:5], 2.0), BASE[:5])
    return tmp_path


def test_rows_are_matched_by_token_and_the_bases_tokens_stay(trio) -> None:
    merged = merge(trio)
    wanted = rows_of(BASE)
    wanted[:5] += 3.0
    wanted[5] += 1.0
    assert torch.equal(merged[EMBED], wanted)
    assert torch.equal(merged[HEAD], wanted + 100.0)
    assert merged["config"]["vocab_size"] == 6
    (one, first), (two, second) = findings(trio)
    assert (one, two) == ("warning", "info")
    assert first == (
        "ft1: 7 rows of tokens, the base has 6; matched by token, 2 in other rows; 1 rows only there (first: <x>): "
        "1 left out, --vocab union or ft1 keeps them"
    )
    assert "1 of the base's rows are not in it and count as unchanged there" in second


def test_union_keeps_extra_rows_from_their_owner_and_names_them(trio) -> None:
    merged = merge(trio, "union")
    assert merged[EMBED].shape == (7, 4)
    assert torch.equal(merged[EMBED][6], rows_of(["<x>"], 1.0)[0])
    assert merged["config"]["vocab_size"] == 7
    out = trio / "out-union-task_arithmetic"
    entry = json.loads((out / "tokenizer.json").read_text())["added_tokens"][-1]
    assert (entry["content"], entry["id"]) == ("<x>", 6)
    decoder = json.loads((out / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert decoder["6"]["content"] == "<x>"
    assert all(severity == "info" for severity, _ in findings(trio, "union"))


def test_the_vocabulary_of_a_fine_tune_brings_its_order_tokenizer_and_ids(trio) -> None:
    merged = merge(trio, "ft1")
    tokens = ["b", "a", *BASE[2:], "<x>"]
    wanted = rows_of(tokens)
    wanted[:5] += 3.0
    wanted[5:] += 1.0
    assert torch.equal(merged[EMBED], wanted)
    out = trio / "out-ft1-task_arithmetic"
    assert (out / "tokenizer.json").read_bytes() == (trio / "ft1" / "tokenizer.json").read_bytes()
    assert (merged["config"]["vocab_size"], merged["config"]["eos_token_id"]) == (7, 6)


@pytest.mark.parametrize("vocab", ["base", "union", "ft1", "ft2"])
@pytest.mark.parametrize("method", ["globa", "linear", "ties", "slerp", "dare_linear", "tsv_m"])
def test_config_and_rows_agree_for_every_method(trio, vocab, method) -> None:
    """mergekit's second trap: a config that tells of another vocabulary than the embeddings have."""
    merged = merge(trio, vocab, method)
    rows = {"base": 6, "union": 7, "ft1": 7, "ft2": 5}[vocab]
    assert merged[EMBED].shape == merged[HEAD].shape == (rows, 4)
    assert merged["config"]["vocab_size"] == rows
    if rows == 7:
        assert torch.equal(merged[EMBED][6], rows_of(["<x>"], 1.0)[0])


def test_one_token_of_two_owners_is_their_mean(tmp_path) -> None:
    model(tmp_path / "base", rows_of(BASE), BASE)
    model(tmp_path / "ft1", rows_of([*BASE, "<x>", "<y>"], 1.0), BASE, ["<x>", "<y>"])
    model(tmp_path / "ft2", rows_of([*BASE, "<y>"], 2.0), BASE, ["<y>"])
    merged = merge(tmp_path, "union")
    assert torch.equal(merged[EMBED][6], rows_of(["<x>"], 1.0)[0])
    assert torch.equal(merged[EMBED][7], rows_of(["<y>"], 1.5)[0])
    assert torch.equal(merge(tmp_path, "ft2")[EMBED][6], rows_of(["<y>"], 1.5)[0])


def test_equal_sizes_with_rows_in_another_order_are_noticed(tmp_path) -> None:
    model(tmp_path / "base", rows_of(BASE), BASE)
    for n in (1, 2):
        model(tmp_path / f"ft{n}", rows_of(BASE[::-1], float(n)), BASE[::-1])
    assert torch.equal(merge(tmp_path)[EMBED], rows_of(BASE, 3.0))
    assert "6 in other rows" in findings(tmp_path)[0][1]


def test_a_reserved_row_put_to_use_stays_in_its_row(tmp_path) -> None:
    """A new name in the same row, or a name for a padding row, is the same row fine-tuned."""
    model(tmp_path / "base", rows_of([*BASE, "-", "+"]), [*BASE[:5], "<reserved>"])
    model(tmp_path / "ft1", rows_of([*BASE, "-", "+"], 1.0), [*BASE[:5], "<turn>"], ["<end>"])
    model(tmp_path / "ft2", rows_of([*BASE, "-", "+"], 1.0), [*BASE[:5], "<reserved>"])
    assert not findings(tmp_path)
    assert torch.equal(merge(tmp_path)[EMBED], rows_of([*BASE, "-", "+"], 2.0))


def test_without_tokenizers_rows_go_by_number_with_a_warning(tmp_path) -> None:
    model(tmp_path / "base", rows_of(BASE), None)
    model(tmp_path / "ft1", rows_of([*BASE, "x"], 1.0), None)
    model(tmp_path / "ft2", rows_of(BASE, 1.0), None)
    [(severity, text)] = findings(tmp_path)
    assert severity == "warning"
    assert "matched by row number, for want of tokenizers to compare; 1 rows only there (first: row 6)" in text
    assert torch.equal(merge(tmp_path)[EMBED], rows_of(BASE, 2.0))
    assert torch.equal(merge(tmp_path, "union")[EMBED][6], rows_of(["x"], 1.0)[0])


def test_tied_tables_stay_tied(tmp_path) -> None:
    model(tmp_path / "base", rows_of(BASE), BASE, tied=True)
    model(tmp_path / "ft1", rows_of([*BASE, "<x>"], 1.0), BASE, ["<x>"], tied=True)
    model(tmp_path / "ft2", rows_of(BASE, 1.0), BASE, tied=True)
    merged = merge(tmp_path, "union")
    assert HEAD not in merged
    assert merged[EMBED].shape == (7, 4)
    stored = load_file(tmp_path / "base" / "model.safetensors")
    single(tmp_path / "base", stored | {HEAD: stored[EMBED].clone()}, {"tie_word_embeddings": True, "vocab_size": 6})
    merged = merge(tmp_path, "ft1")
    assert torch.equal(merged[HEAD], merged[EMBED])
    assert merged[EMBED].shape == (7, 4)


def test_a_union_that_no_tokenizer_can_express_is_refused(tmp_path) -> None:
    model(tmp_path / "base", rows_of(BASE), BASE)
    model(tmp_path / "ft1", rows_of([*BASE, "xy"], 1.0), [*BASE, "xy"])
    model(tmp_path / "ft2", rows_of(BASE, 1.0), BASE)
    with pytest.raises(MismatchError, match="'xy' belongs to the vocabulary proper of ft1.*--vocab base or ft1"):
        merge(tmp_path, "union")
    assert merge(tmp_path, "ft1")[EMBED].shape == (7, 4)


def test_a_choice_that_is_none(trio) -> None:
    with pytest.raises(MismatchError, match="vocab is 'ft3'; choose base, union, or one of ft1, ft2"):
        merge(trio, "ft3")
    for wrong in ("ft0", "all", "", "ft1 "):
        with pytest.raises(SettingsError, match="--vocab is"):
            AnalysisSettings(vocab=wrong)


def test_uneven_tables_are_an_error(trio) -> None:
    weights = load_file(trio / "ft1" / "model.safetensors")
    single(trio / "ft1", weights | {HEAD: weights[HEAD][:6]}, {"vocab_size": 7})
    with pytest.raises(MismatchError, match="ft1 .*: its token tables have 6 and 7 rows; resize them"):
        merge(trio)


def test_a_run_keeps_its_vocabulary(trio) -> None:
    names = (str(trio / "ft1"), str(trio / "ft2"))
    settings = AnalysisSettings(vocab="union")
    run_analysis(AnalysisRequest(str(trio / "base"), names, trio / "run.globa", settings))
    records = {record["name"]: record for record in Run.open(trio / "run.globa").records()}
    assert records[EMBED]["shape"] == [7, 4]
    assert records[EMBED]["status"] == "done"
    run_merge(Recipe(run=str(trio / "run.globa")), trio / "stored")
    stored = load_file(trio / "stored" / "model.safetensors")
    assert torch.equal(stored[EMBED][6], rows_of(["<x>"], 1.0)[0])
    with pytest.raises(RecipeError, match="was analysed with union, the recipe says base"):
        run_merge(Recipe(run=str(trio / "run.globa"), vocab="base"), trio / "other")


def test_a_recipe_with_a_vocabulary_makes_the_same_bytes(trio) -> None:
    merge(trio, "union")
    first = trio / "out-union-task_arithmetic"
    run_merge(Recipe.read(first / "globa_recipe.yaml"), trio / "again")
    for path in first.iterdir():
        assert path.read_bytes() == (trio / "again" / path.name).read_bytes(), path.name


def test_an_adapter_with_resized_tables(trio) -> None:
    """PEFT keeps resized embeddings whole in the adapter, beside its tokenizer."""
    tables = {EMBED: rows_of([*BASE, "<x>"], 1.0), HEAD: rows_of([*BASE, "<x>"], 101.0)}
    whole = {name.replace("model.embed_tokens.", "model.embed_tokens.base_layer."): t for name, t in tables.items()}
    down, up = 0.1 * torch.randn(4, 7), torch.zeros(4, 4)
    more = {"model.embed_tokens.lora_embedding_A": down, "model.embed_tokens.lora_embedding_B": up}
    adapter(trio / "ft1", {}, whole | more)
    (trio / "ft1" / "model.safetensors").unlink()
    tokenizer(trio / "ft1", BASE, ["<x>"])
    merged = merge(trio, "union")
    wanted = rows_of([*BASE, "<x>"])
    wanted[:5] += 3.0
    wanted[5:] += 1.0
    assert torch.equal(merged[EMBED], wanted)
    assert torch.equal(merged[HEAD], wanted + 100.0)


def test_a_model_of_another_width_is_never_dropped_silently(tmp_path) -> None:
    """mergekit's first trap: a model with a wider MLP vanished from the merge with a line in the log."""
    model(tmp_path / "base", rows_of(BASE), BASE)
    model(tmp_path / "ft1", rows_of(BASE, 1.0), BASE)
    model(tmp_path / "ft2", rows_of(BASE, 1.0), BASE)
    weights = load_file(tmp_path / "ft2" / "model.safetensors")
    single(tmp_path / "ft2", weights | {"model.layers.0.mlp.up_proj.weight": torch.zeros(6, 4)}, {})
    for method in ("linear", "task_arithmetic", "ties", "globa"):
        with pytest.raises(MismatchError, match=r"up_proj.weight: base has \[4, 4\], ft2 has \[6, 4\]"):
            merge(tmp_path, method=method)
