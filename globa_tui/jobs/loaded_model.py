"""A checkpoint as a running model of transformers, without its head; LoRA adapters are merged into it in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from analysis.product import Product
from globa_tui.diagnostics import ProgramError, printable
from globa_tui.jobs.loadable import require_loadable
from globa_tui.jobs.weights import LayerWeights
from store.checkpoints import Checkpoint, Layer, TensorHeader, build_index
from store.checkpoints.pairing import pair_names
from store.checkpoints.tied import is_output_embedding

_UNUSED = ("pooler", "lm_head", "classifier", "score", "cls.", "qa_outputs")
"""Parts that may be missing: the hidden states of the tokens do not depend on them."""


class ModelError(ProgramError):
    """A model cannot be run; the message says why, and what to do."""


def load(checkpoint: Checkpoint, base: Checkpoint, dtype: torch.dtype, device: torch.device) -> Any:
    """Load a checkpoint for running.

    Parameters
    ----------
    checkpoint
        A model folder, or a LoRA adapter of `base`.
    base
        Gives an adapter everything that it does not change.
    dtype, device
        What the model runs in, and where.

    Returns
    -------
    The model without its head: of an encoder-decoder the encoder.

    Raises
    ------
    ModelError
        transformers does not know the architecture, or weights are missing.

    Notes
    -----
    Never runs code of the model's folder. Memory of one model, and of one weight matrix in float32 for an adapter.
    """
    import transformers

    from_folder = base if checkpoint.adapter else checkpoint
    folder = model_folder(from_folder)
    require_loadable(folder)
    # The name of the setting changed in transformers 4.56.
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    settings: dict[str, Any] = {"dtype" if version >= (4, 56) else "torch_dtype": dtype}
    try:
        with _quiet():
            model, found = transformers.AutoModel.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True, output_loading_info=True, **settings
            )
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = printable(lines[0])[:300] if lines else type(error).__name__
        msg = f"{folder}: transformers {transformers.__version__} does not load it ({reason})"
        raise ModelError(msg) from error
    encoder_only = bool(getattr(model.config, "is_encoder_decoder", False))
    _require_whole(found, folder, (*_UNUSED, "decoder.") if encoder_only else _UNUSED)
    if checkpoint.adapter:
        _add_adapter(model, checkpoint, base)
    if encoder_only:
        model = model.get_encoder()
    return model.eval().to(device)


def model_folder(checkpoint: Checkpoint) -> Path:
    """The folder that transformers loads; refused where there is none that it could.

    Raises
    ------
    ModelError
        When the checkpoint is one file, or its folder has no config.
    """
    if not checkpoint.path.is_dir() or not checkpoint.config:
        msg = f"{checkpoint.path}: cannot be run without a config.json beside its weights; name a model folder"
        raise ModelError(msg)
    return checkpoint.path


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder, without running any code of it.

    Raises
    ------
    ModelError
        When there is none that transformers loads.
    """
    import transformers

    try:
        with _quiet():
            return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = printable(lines[0])[:300] if lines else type(error).__name__
        msg = f"{folder}: transformers {transformers.__version__} does not load its tokenizer ({reason})"
        raise ModelError(msg) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what transformers says while it loads off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _require_whole(found: Mapping[str, Any], folder: Path, unused: tuple[str, ...]) -> None:
    """Refuse a model with weights that transformers had to make up: its hidden states would be noise."""
    missing = sorted(name for name in found.get("missing_keys", ()) if not any(part in name for part in unused))
    if missing:
        msg = f"{folder}: {len(missing)} weights are missing, the first is {printable(missing[0])}; fetch it again"
        raise ModelError(msg)


def _add_adapter(model: Any, adapter: Checkpoint, base: Checkpoint) -> None:
    """Put the weights of a fine-tune that is given by an adapter in the place of the base's."""
    index = build_index(base, [adapter])
    index.require_mergeable()
    parameters: dict[str, torch.Tensor] = dict(model.named_parameters())
    headers = {
        name: TensorHeader(name, "F32", tuple(tensor.shape), base.path, 0, 0) for name, tensor in parameters.items()
    }
    _, pairs = pair_names(headers, base.tensors)
    places = {theirs: parameters[ours] for ours, theirs in pairs.items()}
    with LayerWeights(index, torch.device("cpu")) as weights, torch.no_grad():
        for layer in index.layers:
            if layer.fine_tuned[0] is None or (layer.tensor not in places and is_output_embedding(layer.tensor)):
                continue
            _put(places.get(layer.tensor), layer, weights, adapter.path)


def _put(place: torch.Tensor | None, layer: Layer, weights: LayerWeights, adapter: Path) -> None:
    weight, (change,) = weights.read(layer)
    if place is not None and layer.part is not None:
        place = place[layer.part] if place.ndim == 3 else None
    if place is None or change is None or tuple(place.shape) != tuple(weight.shape) != ():
        msg = (
            f"{adapter}: {printable(layer.name)} has no place of its own in the running model; "
            "merge the adapter into its base with PEFT (merge_and_unload) and name the result"
        )
        raise ModelError(msg)
    new = weight.float() + change.dense(torch.float32) if isinstance(change, Product) else change
    place.copy_(new)
