"""Checkpoints that are quantised, by their tensors or by their config, and configs that say so of plain weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from store.checkpoints.finding import Finding
from store.checkpoints.model import Checkpoint
from store.checkpoints.text import shown

_QUANTISED = {
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".absmax": "bitsandbytes 4-bit",
    ".weight.quant_map": "bitsandbytes 4-bit",
    ".SCB": "bitsandbytes 8-bit",
    ".weight_packed": "compressed-tensors",
    ".weight_scale": "scaled 8-bit",
    ".weight_scale_inv": "scaled FP8",
    ".W_q": "HQQ",
    "_proj_blocks": "MXFP4",
}
"""Endings of tensors that only quantised checkpoints have."""

_PACKED = frozenset({"U8", "I8", "I32", "F4", "F6_E2M3", "F6_E3M2"})
"""Types that hold no weight by itself, where a config names a quantisation."""


def quantised(model: Checkpoint, label: str) -> Iterator[Finding]:
    """Report a checkpoint whose numbers mean nothing without the scales beside them."""
    for name in model.tensors:
        if name.endswith(tuple(_QUANTISED)):
            way = next(way for ending, way in _QUANTISED.items() if name.endswith(ending))
            text = (
                f"{shown(name)}: {label} ({shown(model.source)}) is quantised ({way}); name the unquantised checkpoint"
            )
            yield Finding("error", "quantised", text, name)
            return
    method = quantisation(model.config)
    packed = [name for name, header in model.tensors.items() if header.dtype in _PACKED]
    if method is not None and packed:
        text = f"{shown(packed[0])}: {label} ({shown(model.source)}) is quantised ({shown(method)} by its config.json)"
        yield Finding("error", "quantised", f"{text}; name the unquantised checkpoint", packed[0])
    elif leftover_quantisation(model.config, (header.dtype for header in model.tensors.values())) is not None:
        text = f"{label} ({shown(model.source)}): its config.json says {shown(method)}, its weights are not quantised"
        drops = " and quantization_config is left out of the result's config.json" if label == "base" else ""
        yield Finding("warning", "quantised", f"{text}: they are taken as they are{drops}")


def leftover_quantisation(config: Mapping[str, object], dtypes: Iterable[str]) -> str | None:
    """Return the quantisation that a config names over weights that have none: of at least 16 bits, none packed."""
    method = quantisation(config)
    return None if method is None or any(code in _PACKED or code.startswith("F8") for code in dtypes) else method


def quantisation(config: Mapping[str, object]) -> str | None:
    """Return the method that a config names under ``quantization_config``; None when it names none."""
    found = config.get("quantization_config")
    return str(found.get("quant_method", "unknown")) if isinstance(found, Mapping) else None
