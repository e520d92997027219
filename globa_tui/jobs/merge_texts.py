"""Everything of a merged model beside its weights: config, tokenizer, recipe and card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from globa_tui.jobs.card import model_card
from globa_tui.jobs.merge_plan import MergePlan
from store.checkpoints import Checkpoint, open_checkpoint
from store.merged import MergedWriter, is_tokenizer_file, sidecar_files, union_texts

_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def add_texts(writer: MergedWriter, plan: MergePlan) -> None:
    """Write the small files: those of the base, with what the merge changed in them."""
    texts = dict(_changed(plan))
    for source in _sidecars(plan):
        if source.name not in texts:
            writer.copy_file(source)
    for name, text in texts.items():
        writer.add_text(name, text)
    writer.add_text("globa_recipe.yaml", plan.absolute().to_yaml())
    writer.add_text("README.md", model_card(plan.recipe, plan.index))


def merged_config(plan: MergePlan) -> dict[str, Any]:
    """The base's config with the type, the vocabulary and the special tokens of the merged model."""
    config: dict[str, Any] = dict(plan.index.base.config)
    if not config:
        return config
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
