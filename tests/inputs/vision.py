"""Vision-language models with the prefixes that transformers gave them before and after version 4.52."""

from __future__ import annotations

import torch

Prefixes = tuple[str, str, str, str]

OLD: Prefixes = ("language_model.model.", "vision_tower.", "multi_modal_projector.", "language_model.")
NEW: Prefixes = ("model.language_model.", "model.vision_tower.", "model.multi_modal_projector.", "")
CONFIG = {"model_type": "llava", "text_config": {"vocab_size": 12}, "vision_config": {}}


def vision(text: str, tower: str, projector: str, head: str, move: float = 0.0) -> dict[str, torch.Tensor]:
    """A vision-language model whose parts have these prefixes."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {f"{text}embed_tokens.weight": (12, 8), f"{text}norm.weight": (8,)}
    for block in range(2):
        shapes[f"{text}layers.{block}.self_attn.q_proj.weight"] = (8, 8)
        shapes[f"{text}layers.{block}.mlp.up_proj.weight"] = (16, 8)
        shapes[f"{tower}vision_model.encoder.layers.{block}.self_attn.q_proj.weight"] = (6, 6)
    shapes |= {f"{tower}vision_model.embeddings.patch_embedding.weight": (6, 3, 2, 2)}
    shapes |= {f"{projector}linear_1.weight": (8, 6), f"{head}lm_head.weight": (12, 8)}
    return {name: torch.randn(shape, generator=generator) + move for name, shape in shapes.items()}
