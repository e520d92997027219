"""Tokens and their rows, from each of the files in which tokenizers keep them."""

import json
from pathlib import Path

import pytest
import torch

from store.checkpoints import open_checkpoint
from store.checkpoints.tokens import read_tokens, tokenizer_digest
from tests.store import make

FILES = {
    "tokenizer.json": (
        json.dumps({"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<s>"}]}),
        {"a": 0, "b": 1, "<s>": 2},
    ),
    "unigrams": (json.dumps({"model": {"vocab": [["a", -1.5], ["b", -2.0]]}}), {"a": 0, "b": 1}),
    "vocab.json": (json.dumps({"a": 0, "b": 1}), {"a": 0, "b": 1}),
    "vocab.txt": ("[PAD]\r\na\n\nb\n", {"[PAD]": 0, "a": 1, "b": 3}),
}


def model(folder: Path, **files: str) -> Path:
    made = make.single(folder / "model", {"x.weight": torch.zeros(2, 2)}, {})
    for name, text in files.items():
        (made / name.replace("_json", ".json").replace("_txt", ".txt")).write_text(text)
    return made


@pytest.mark.parametrize("name", FILES)
def test_each_form_is_read(tmp_path: Path, name: str) -> None:
    text, wanted = FILES[name]
    folder = model(tmp_path)
    (folder / ("tokenizer.json" if name == "unigrams" else name)).write_text(text)
    assert read_tokens(open_checkpoint(str(folder))) == wanted


def test_added_tokens_go_with_a_plain_vocabulary(tmp_path: Path) -> None:
    folder = model(tmp_path, vocab_json='{"a": 0}', added_tokens_json='{"<s>": 1, "odd": "x", "negative": -1}')
    assert read_tokens(open_checkpoint(str(folder))) == {"a": 0, "<s>": 1}


def test_a_tokenizer_without_a_vocabulary_leaves_it_to_the_other_files(tmp_path: Path) -> None:
    folder = model(tmp_path, tokenizer_json='{"model": {"vocab": "none"}}', vocab_txt="a\nb\n")
    assert read_tokens(open_checkpoint(str(folder))) == {"a": 0, "b": 1}


def test_there_may_be_none(tmp_path: Path) -> None:
    folder = model(tmp_path)
    assert read_tokens(open_checkpoint(str(folder))) is None
    assert tokenizer_digest(open_checkpoint(str(folder))) is None
    (folder / "second.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (folder / "vocab.txt").write_text("a\n")
    alone = open_checkpoint(str(folder / "second.safetensors"))
    assert read_tokens(alone) is None, "files of a folder with several models belong to none of them"
