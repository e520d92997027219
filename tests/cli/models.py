"""Tiny checkpoints on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SHAPES = {
    "model.embed_tokens.weight": (16, 8),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.mlp.up_proj.weight": (12, 8),
    "model.norm.weight": (8,),
}


def write_model(folder: Path, seed: int, base: int | None = None, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Path:
    """A model of random weights; with `base` (its seed), that model and a tenth of another one added."""
    own = {name: np.random.default_rng([seed, i]).normal(size=shape) for i, (name, shape) in enumerate(shapes.items())}
    if base is not None:
        first = {
            name: np.random.default_rng([base, i]).normal(size=shape) for i, (name, shape) in enumerate(shapes.items())
        }
        own = {name: first[name] + 0.1 * own[name] for name in shapes}
    folder.mkdir(parents=True)
    save_file({name: value.astype(np.float32) for name, value in own.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny", "tie_word_embeddings": False}))
    return folder


def write_family(folder: Path) -> tuple[str, str, str]:
    """A base and two fine-tunes of it."""
    return (
        str(write_model(folder / "base", 0)),
        str(write_model(folder / "ft1", 1, base=0)),
        str(write_model(folder / "ft2", 2, base=0)),
    )
