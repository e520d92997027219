"""Whether a merged model's small files fit its weights, and whether transformers would take it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from globa_tui.diagnostics import printable
from globa_tui.jobs import loadable
from store.checkpoints import Checkpoint, TensorHeader
from store.checkpoints.dtypes import FLOATING
from store.checkpoints.folder import read_settings
from store.checkpoints.pairing import pair_names
from store.checkpoints.quantisation import leftover_quantisation
from store.checkpoints.tied import is_input_embedding, is_output_embedding, says_tied
from store.checkpoints.tokens import read_tokens
from store.errors import StoreError

Outcome = tuple[Literal["passed", "warning", "failed", "skipped"], str]

_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def config_faults(merged: Checkpoint, base: Checkpoint | None) -> Outcome:
    """Whether ``config.json`` tells the quantisation, the vocabulary and the type that the weights have."""
    if not merged.config:
        return _without_config(merged, base)
    method = leftover_quantisation(merged.config, (header.dtype for header in merged.tensors.values()))
    if method is not None:
        text = f"config.json says {printable(method)}, the weights are not quantised; take out quantization_config"
        return ("failed", text)
    rows, said = embedding_rows(merged), _setting(merged.config, "vocab_size")
    if rows is not None and isinstance(said, int) and rows != said:
        text = f"vocab_size is {said:,} in config.json, the token embeddings have {rows:,} rows"
        same = base is not None and (embedding_rows(base), _setting(base.config, "vocab_size")) == (rows, said)
        return ("warning", f"{text}, as in the base") if same else ("failed", text)
    dtype = _DTYPES.get(str(merged.config.get("dtype", merged.config.get("torch_dtype"))).removeprefix("torch."))
    found = {header.dtype for header in merged.tensors.values() if header.dtype in FLOATING}
    if dtype is not None and dtype not in found:
        return ("warning", f"config.json says {dtype}, the weights are {', '.join(sorted(found))}")
    try:
        read_settings(merged.folder, "generation_config.json")
    except StoreError as error:
        return ("warning", printable(error))
    return ("passed", "config.json agrees with the weights")


def _without_config(merged: Checkpoint, base: Checkpoint | None) -> Outcome:
    """A missing config is a fault where the base has one: nothing would load the result."""
    if base is None or not base.config or not merged.path.is_dir():
        return ("skipped", "there is no config.json")
    return (
        "failed",
        f"there is no config.json (or an empty one), {printable(base.folder)} has one; copy it from there",
    )


def tokenizer_faults(merged: Checkpoint, base: Checkpoint | None) -> Outcome:
    """Whether every token of the tokenizer has a row of the embeddings."""
    rows = embedding_rows(merged)
    try:
        tokens = read_tokens(merged)
    except StoreError as error:
        return ("failed", printable(error))
    if tokens is None or rows is None:
        return ("skipped", "there is no tokenizer.json or vocabulary to compare")
    beyond = sorted((row, token) for token, row in tokens.items() if row >= rows)
    if not beyond:
        return ("passed", f"all {len(tokens):,} tokens have a row")
    row, token = beyond[0]
    text = f"{len(beyond):,} tokens have no row, the first is {printable(repr(token))} at {row:,} of {rows:,}"
    if base is not None and embedding_rows(base) == rows and _tokens(base) == tokens:
        return ("warning", f"{text}, as in the base")
    return ("failed", text)


def transformers_faults(merged: Checkpoint) -> Outcome:
    """Whether transformers builds the model without values, and finds a weight of the right shape for everything."""
    config = merged.config
    architectures = config.get("architectures")
    if not (config.get("model_type") and isinstance(architectures, list) and architectures):
        return ("skipped", "config.json names no model_type and architecture")
    if not merged.path.is_dir():
        return ("skipped", "one file without a folder")
    counts = [value for value in loadable.counts(config) if value > loadable.MOST_BLOCKS]
    if counts:
        return ("skipped", f"its config counts {counts[0]:,} layers or experts, which is not tried")
    try:
        wanted, version = _skeleton(merged.path, str(architectures[0]))
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = printable(lines[0])[:200] if lines else type(error).__name__
        return ("skipped", f"transformers does not build {printable(architectures[0])} here ({reason})")
    if wanted is None:
        return ("skipped", f"transformers {version} does not know {printable(architectures[0])}")
    return _compared(merged, wanted, version)


def embedding_rows(checkpoint: Checkpoint) -> int | None:
    """Rows of the token embeddings; None when there are none."""
    for name, header in checkpoint.tensors.items():
        if is_input_embedding(name) and len(header.shape) == 2:
            return header.shape[0]
    return None


def _compared(merged: Checkpoint, wanted: Mapping[str, TensorHeader], version: str) -> Outcome:
    _, pairs = pair_names(wanted, merged.tensors)
    for name, other in pairs.items():
        expected, found = wanted[name].shape, merged.tensors[other].shape
        if expected != found:
            text = f"{printable(other)}: has the shape {list(found)}, transformers expects {list(expected)}"
            return ("failed", text)
    tied = says_tied(merged.config) is not False
    missing = [name for name in wanted if name not in pairs and not (tied and is_output_embedding(name))]
    if missing:
        text = f"{len(missing):,} weights have other names in transformers {version}, the first is {missing[0]}"
        return ("warning", f"{text}; load it once before you rely on it")
    return ("passed", f"transformers {version} finds all {len(wanted):,} weights in their shapes")


def _skeleton(folder: Path, architecture: str) -> tuple[dict[str, TensorHeader] | None, str]:
    """Names and shapes that transformers expects, from a model built on the meta device; never code of the model."""
    import torch
    import transformers

    kind = getattr(transformers, architecture, None) if architecture.isidentifier() else None
    version = str(transformers.__version__)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        return None, version
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(50)
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model: Any = kind(config)
            tensors = dict(model.named_parameters())
    finally:
        transformers.logging.set_verbosity(verbosity)
    return {
        name: TensorHeader(name, "F32", tuple(tensor.shape), folder, 0, 0) for name, tensor in tensors.items()
    }, version


def _setting(config: Mapping[str, object], name: str) -> object:
    text = config.get("text_config")
    return config.get(name, text.get(name) if isinstance(text, Mapping) else None)


def _tokens(base: Checkpoint) -> dict[str, int] | None:
    try:
        return read_tokens(base)
    except StoreError:
        return None
