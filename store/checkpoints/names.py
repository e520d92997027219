"""What a tensor's name says: its kind (query projection, norm, …) and its block."""

from __future__ import annotations

import re
from typing import Literal

from store.checkpoints.dtypes import FLOATING
from store.checkpoints.model import TensorHeader

_BLOCK = re.compile(r"(?:^|\.)(?:\w*_)?(?:layers?|blocks?|h|resblocks|groups)\.(\d+)(?:\.|$)")
_NORM = re.compile(r"norm|^ln(?:_|\d|$)", re.IGNORECASE)
_ATTENTION = re.compile(r"att|^self_attn$|selfattention|encdecattention", re.IGNORECASE)
_EXPERTS = re.compile(r"moe|expert|mlp|feed_forward", re.IGNORECASE)
_STACKED = re.compile(r"expert|moe", re.IGNORECASE)

# Modules whose name alone says what they are.
_BY_MODULE: dict[str, str] = {
    **dict.fromkeys(("q_proj", "query", "q", "q_lin", "wq", "query_proj", "to_q"), "q_proj"),
    **dict.fromkeys(("k_proj", "key", "k", "k_lin", "wk", "key_proj", "to_k"), "k_proj"),
    **dict.fromkeys(("v_proj", "value", "v", "v_lin", "wv", "value_proj", "to_v"), "v_proj"),
    **dict.fromkeys(("o_proj", "out_proj", "out_lin", "o", "to_out"), "o_proj"),
    **dict.fromkeys(("gate_proj", "w1", "wi_0"), "gate_proj"),
    **dict.fromkeys(("up_proj", "w3", "wi", "wi_1", "c_fc", "fc1", "fc_in", "lin1", "dense_h_to_4h"), "up_proj"),
    **dict.fromkeys(("down_proj", "w2", "fc2", "fc_out", "lin2", "dense_4h_to_h"), "down_proj"),
    **dict.fromkeys(("qkv", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack"), "qkv"),
    **dict.fromkeys(
        (
            "embed_tokens",
            "wte",
            "wpe",
            "shared",
            "word_embeddings",
            "position_embeddings",
            "token_type_embeddings",
            "embed_positions",
            "tok_embeddings",
            "embed_in",
        ),
        "embed",
    ),
    **dict.fromkeys(("lm_head", "embed_out"), "lm_head"),
    **dict.fromkeys(("router", "gate_network"), "router"),
}


def kind_of(name: str) -> str:
    """Name the kind of a tensor: ``q_proj``, ``down_proj``, ``embed``, ``norm``, ``bias`` or another.

    The names of BERT, GPT-2, NeoX, Falcon, T5, Llama, Mistral, Mixtral, Qwen and Phi map to one vocabulary; anything
    else keeps the name of its last module. Biases are ``bias``, except those of norms, which are ``norm``.
    """
    parts = name.split(".")
    attribute = parts.pop() if len(parts) > 1 else ""
    if attribute not in ("weight", "bias") and attribute:
        # Parameters that are no module's weight, e.g. "in_proj_weight" or a fused "gate_up_proj".
        module, is_bias = attribute.removesuffix("_weight").removesuffix("_bias"), attribute.endswith("_bias")
        if attribute == "in_proj_weight":
            return "qkv"
    else:
        module, is_bias = parts.pop(), attribute == "bias"
    if _NORM.search(module):
        return "norm"
    if is_bias:
        return "bias"
    return _by_context(module, parts) or _BY_MODULE.get(module, module)


def _by_context(module: str, parents: list[str]) -> str | None:
    """Kinds that depend on where a module sits: ``dense`` and ``c_proj`` end an attention or a feed-forward."""
    parent = parents[-1] if parents else ""
    in_attention = bool(_ATTENTION.search(parent)) or (
        parent == "output" and len(parents) > 1 and bool(_ATTENTION.search(parents[-2]))
    )
    if module in ("dense", "c_proj", "wo", "Wo"):
        if in_attention:
            return "o_proj"
        if module == "dense" and parent == "intermediate":
            return "up_proj"
        return None if module == "dense" and parent != "output" else "down_proj"
    if module == "gate" and _EXPERTS.search(parent):
        return "router"
    if module in ("decoder", "output") and (not parents or parent in ("predictions", "lm_head")):
        return "lm_head"
    return None


def is_expert_stack(header: TensorHeader) -> bool:
    """Whether a tensor holds one matrix per expert: floating, three axes, none empty, in a mixture of experts."""
    if len(header.shape) != 3 or 0 in header.shape or header.dtype not in FLOATING:
        return False
    return any(_STACKED.search(part) for part in header.name.split("."))


def block_of(name: str) -> int | None:
    """Return the number of the block a tensor belongs to: 12 for ``model.layers.12.mlp.…``; None outside blocks."""
    match = _BLOCK.search(name)
    return int(match[1]) if match and len(match[1]) < 10 else None


def role_of(header: TensorHeader) -> Literal["matrix", "vector", "other"]:
    """Return how a tensor can be treated: ``"matrix"``, ``"vector"`` or ``"other"``.

    Matrices are floating with two axes, neither empty. Vectors are floating with one axis, or biases and norm weights
    with two. Everything else (scalars, three axes and more, integers, booleans) is other.
    """
    if header.dtype not in FLOATING:
        return "other"
    if len(header.shape) == 1:
        return "vector"
    if len(header.shape) != 2 or 0 in header.shape:
        return "other"
    is_vector = header.name.endswith((".bias", "_bias", "norm.weight"))
    return "vector" if is_vector else "matrix"
