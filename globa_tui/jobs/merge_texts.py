"""Everything of a merged model beside its weights: config, tokenizer, recipe and card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from globa_tui.jobs.card import model_card
from globa_tui.jobs.merge_plan import MergePlan
from store.checkpoints import Checkpoint, open_checkpoint
from store.checkpoints.quantisation import leftover_quantisation
from store.checkpoints.tied import is_input_embedding
from store.checkpoints.tokens import read_tokens
from store.merged import MergedWriter, is_tokenizer_file, sidecar_files, template_texts, union_texts

_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def add_texts(writer: MergedWriter, plan: MergePlan) -> None:
    """Write the small files: those of the base, with what the merge changed in them."""
    copied, texts = small_files(plan)
    for source in copied:
        writer.copy_file(source)
    for name, text in texts.items():
        writer.add_text(name, text)


def small_files(plan: MergePlan) -> tuple[list[Path], dict[str, str]]:
    """Files that are copied as they are, and texts by file name; everything they are made from is opened and read.

    Raises
    ------
    CheckpointError
        When a config or a tokenizer cannot be read.
    """
    texts, sidecars = dict(_changed(plan)), _sidecars(plan)
    if plan.recipe.chat_template is not None:
        texts |= template_texts(plan.recipe.chat_template, tokenizer_owner(plan), texts)
        sidecars = [source for source in sidecars if source.name != "chat_template.json"]
    copied = [source for source in sidecars if source.name not in texts]
    texts["globa_recipe.yaml"] = plan.absolute().to_yaml()
    texts["README.md"] = model_card(plan.recipe, plan.index, plan.absent)
    return copied, texts


def tokenizer_owner(plan: MergePlan) -> Checkpoint:
    """The checkpoint whose tokenizer goes with the result."""
    if plan.recipe.tokenizer_from is not None:
        return open_checkpoint(plan.recipe.tokenizer_from)
    return _owner(plan) or plan.index.base


def tokenizer_remark(plan: MergePlan) -> str | None:
    """Whether every token of the tokenizer will have a row; None where there is nothing to compare."""
    tokens = read_tokens(tokenizer_owner(plan))
    tables = (one.shape[0] for one in plan.output.tensors if is_input_embedding(one.name) and len(one.shape) == 2)
    rows = next(tables, None)
    if tokens is None or rows is None:
        return None
    beyond = sum(row >= rows for row in tokens.values())
    if beyond:
        return f"warning: {beyond:,} of {len(tokens):,} tokens of the tokenizer have no row among {rows:,}"
    return f"tokenizer: {len(tokens):,} tokens, {rows:,} rows"


def merged_config(plan: MergePlan) -> dict[str, Any]:
    """The base's config with the type, the vocabulary and the special tokens of the merged model.

    A quantisation that it names over plain weights is left out: it would be applied, or looked for, when they are read.
    """
    config: dict[str, Any] = dict(plan.index.base.config)
    if not config:
        return config
    if leftover_quantisation(config, (tensor.dtype for tensor in plan.output.tensors)) is not None:
        del config["quantization_config"]
    if plan.recipe.dtype is not None:
        config["dtype" if "dtype" in config else "torch_dtype"] = plan.recipe.dtype
    vocabulary = plan.index.vocabulary
    if vocabulary is None:
        return config
    rows = plan.index.base.tensors[min(vocabulary.tensors)].shape[0]
    if vocabulary.size != rows:
        _set(config, "vocab_size", vocabulary.size)
    owner = _owner(plan)
    for name in _TOKEN_IDS if owner is not None else ():
        found = _get(owner.config, name) if owner is not None else None
        if found is not None:
            _set(config, name, found)
    return config


def _changed(plan: MergePlan) -> Iterator[tuple[str, str]]:
    base = plan.index.base
    names = {path.name for path in sidecar_files(base)}
    config = merged_config(plan)
    if "config.json" in names and config != base.config:
        yield "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    vocabulary = plan.index.vocabulary
    if vocabulary is not None and vocabulary.added and plan.recipe.tokenizer_from is None:
        yield from union_texts(plan.index).items()


def _sidecars(plan: MergePlan) -> list[Path]:
    """Small files of the base, with the tokenizer's from where the recipe or the vocabulary says."""
    files = list(sidecar_files(plan.index.base))
    owner = _owner(plan)
    if plan.recipe.tokenizer_from is not None:
        other = sidecar_files(open_checkpoint(plan.recipe.tokenizer_from))
    elif owner is not None:
        other = sidecar_files(owner)
    else:
        return files
    theirs = [path for path in other if is_tokenizer_file(path)]
    if owner is not None:
        theirs += [path for path in other if path.name == "generation_config.json"]
    taken = {path.name for path in theirs}
    return [f for f in files if not is_tokenizer_file(f) and f.name not in taken] + theirs


def _owner(plan: MergePlan) -> Checkpoint | None:
    """The fine-tune whose vocabulary the result has."""
    choice = plan.index.vocabulary.choice if plan.index.vocabulary is not None else ""
    return plan.index.fine_tuned[int(choice[2:]) - 1] if choice.startswith("ft") else None


def _get(config: Mapping[str, object], name: str) -> object:
    text = config.get("text_config")
    return config.get(name, text.get(name) if isinstance(text, Mapping) else None)


def _set(config: dict[str, Any], name: str, value: object) -> None:
    """Set a value where the config has it: at the top, or among the settings of the text model."""
    text = config.get("text_config")
    if isinstance(text, dict) and (name in text or name not in config):
        config["text_config"] = {**text, name: value}
    if name in config or not isinstance(text, dict):
        config[name] = value
