"""Names of many architectures, one vocabulary of kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.checkpoints import TensorHeader
from store.checkpoints.names import block_of, kind_of, role_of

KINDS = {
    # Llama, Mistral, Qwen
    "model.embed_tokens.weight": ("embed", None),
    "model.layers.12.self_attn.q_proj.weight": ("q_proj", 12),
    "model.layers.12.self_attn.k_proj.bias": ("bias", 12),
    "model.layers.12.self_attn.v_proj.weight": ("v_proj", 12),
    "model.layers.12.self_attn.o_proj.weight": ("o_proj", 12),
    "model.layers.12.self_attn.q_norm.weight": ("norm", 12),
    "model.layers.3.mlp.gate_proj.weight": ("gate_proj", 3),
    "model.layers.3.mlp.up_proj.weight": ("up_proj", 3),
    "model.layers.3.mlp.down_proj.weight": ("down_proj", 3),
    "model.layers.3.post_attention_layernorm.weight": ("norm", 3),
    "model.norm.weight": ("norm", None),
    "lm_head.weight": ("lm_head", None),
    # Mixtral, Qwen-MoE
    "model.layers.0.block_sparse_moe.gate.weight": ("router", 0),
    "model.layers.0.block_sparse_moe.experts.7.w1.weight": ("gate_proj", 0),
    "model.layers.0.block_sparse_moe.experts.7.w2.weight": ("down_proj", 0),
    "model.layers.0.mlp.gate.weight": ("router", 0),
    "model.layers.0.mlp.experts.17.up_proj.weight": ("up_proj", 0),
    # Llama as Meta ships it
    "tok_embeddings.weight": ("embed", None),
    "layers.1.attention.wo.weight": ("o_proj", 1),
    "layers.1.feed_forward.w3.weight": ("up_proj", 1),
    "output.weight": ("lm_head", None),
    # BERT, RoBERTa, DistilBERT
    "bert.embeddings.word_embeddings.weight": ("embed", None),
    "bert.embeddings.LayerNorm.bias": ("norm", None),
    "bert.encoder.layer.11.attention.self.query.weight": ("q_proj", 11),
    "bert.encoder.layer.11.attention.output.dense.weight": ("o_proj", 11),
    "bert.encoder.layer.11.attention.output.LayerNorm.weight": ("norm", 11),
    "bert.encoder.layer.11.intermediate.dense.weight": ("up_proj", 11),
    "bert.encoder.layer.11.output.dense.weight": ("down_proj", 11),
    "bert.encoder.layer.11.output.dense.bias": ("bias", 11),
    "bert.pooler.dense.weight": ("dense", None),
    "cls.predictions.decoder.weight": ("lm_head", None),
    "lm_head.decoder.weight": ("lm_head", None),
    "distilbert.transformer.layer.0.attention.q_lin.weight": ("q_proj", 0),
    "distilbert.transformer.layer.0.ffn.lin2.weight": ("down_proj", 0),
    "classifier.weight": ("classifier", None),
    # GPT-2, NeoX, Falcon, Phi
    "transformer.wte.weight": ("embed", None),
    "h.5.attn.c_attn.weight": ("qkv", 5),
    "h.5.attn.c_proj.weight": ("o_proj", 5),
    "h.5.mlp.c_fc.weight": ("up_proj", 5),
    "h.5.mlp.c_proj.weight": ("down_proj", 5),
    "h.5.ln_1.weight": ("norm", 5),
    "transformer.ln_f.bias": ("norm", None),
    "gpt_neox.layers.2.attention.query_key_value.weight": ("qkv", 2),
    "gpt_neox.layers.2.attention.dense.weight": ("o_proj", 2),
    "embed_out.weight": ("lm_head", None),
    "transformer.h.1.self_attention.dense.weight": ("o_proj", 1),
    "transformer.h.1.mlp.dense_4h_to_h.weight": ("down_proj", 1),
    "transformer.word_embeddings.weight": ("embed", None),
    "model.layers.2.self_attn.dense.weight": ("o_proj", 2),
    # T5
    "shared.weight": ("embed", None),
    "encoder.block.4.layer.0.SelfAttention.q.weight": ("q_proj", 4),
    "encoder.block.4.layer.0.SelfAttention.o.weight": ("o_proj", 4),
    "decoder.block.4.layer.2.DenseReluDense.wi_0.weight": ("gate_proj", 4),
    "decoder.block.4.layer.2.DenseReluDense.wi_1.weight": ("up_proj", 4),
    "decoder.block.4.layer.2.DenseReluDense.wo.weight": ("down_proj", 4),
    "decoder.block.4.layer.2.layer_norm.weight": ("norm", 4),
    # Others
    "visual.transformer.resblocks.3.attn.in_proj_weight": ("qkv", 3),
    "visual.transformer.resblocks.3.attn.in_proj_bias": ("bias", 3),
    "visual.ln_post.weight": ("norm", None),
    "backbone.layers.0.mixer.in_proj.weight": ("in_proj", 0),
    "backbone.layers.0.mixer.A_log": ("A_log", 0),
    "encoder.albert_layer_groups.0.albert_layers.0.ffn.weight": ("ffn", 0),
    "classifier.0.weight": ("0", None),
    "w": ("w", None),
    "": ("", None),
    "..": ("", None),
}


@pytest.mark.parametrize("name", KINDS)
def test_reads_kind_and_block_from_a_name(name: str) -> None:
    assert (kind_of(name), block_of(name)) == KINDS[name]


def test_a_block_number_without_end_is_no_number() -> None:
    assert block_of("layers." + "9" * 900 + ".w") is None


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "role"),
    [
        ("w.weight", "F32", (2, 3), "matrix"),
        ("lm_head.weight", "BF16", (9, 3), "matrix"),
        ("w.weight", "F8_E4M3", (1, 1), "matrix"),
        ("w.weight", "F32", (0, 3), "other"),
        ("w.weight", "I8", (2, 3), "other"),
        ("w.weight", "BOOL", (2,), "other"),
        ("w.weight", "C64", (2, 2), "other"),
        ("w.weight", "F32", (2, 3, 4), "other"),
        ("scale", "F32", (), "other"),
        ("x.bias", "F16", (3,), "vector"),
        ("x", "F64", (0,), "vector"),
        ("x.bias", "F32", (1, 3), "vector"),
        ("norm.weight", "F32", (1, 3), "vector"),
        ("h.0.attn.bias", "F32", (1, 1, 4, 4), "other"),
        ("position_ids", "I64", (1, 512), "other"),
    ],
)
def test_gives_every_tensor_a_role(name: str, dtype: str, shape: tuple[int, ...], role: str) -> None:
    assert role_of(TensorHeader(name, dtype, shape, Path("m"), 0, 0)) == role
