"""A tiny base and fine-tunes with the tensor names of a Llama, on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tests.store.make import single

HIDDEN, INNER, VOCAB = 16, 24, 32


def tensors(blocks: int = 2, seed: int = 0, scale: float = 0.1) -> dict[str, torch.Tensor]:
    """Weights of a model."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for block in range(blocks):
        head = f"model.layers.{block}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{head}.self_attn.{name}.weight"] = (HIDDEN, HIDDEN)
        shapes[f"{head}.mlp.up_proj.weight"] = (INNER, HIDDEN)
        shapes[f"{head}.mlp.down_proj.weight"] = (HIDDEN, INNER)
        shapes[f"{head}.input_layernorm.weight"] = (HIDDEN,)
    shapes["model.norm.weight"] = (HIDDEN,)
    return {name: scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def tuned(base: Mapping[str, torch.Tensor], seed: int, scale: float = 0.01) -> dict[str, torch.Tensor]:
    """A fine-tune of `base`."""
    moves = tensors(blocks=_blocks(base), seed=seed, scale=scale)
    return {name: (weight.float() + moves[name]).to(weight.dtype) for name, weight in base.items()}


def family(
    folder: Path, blocks: int = 2, tasks: int = 2, dtype: torch.dtype = torch.float32
) -> tuple[Path, list[Path]]:
    """Folders of a base and its fine-tunes."""
    base = {name: weight.to(dtype) for name, weight in tensors(blocks).items()}
    config = {"architectures": ["LlamaForCausalLM"], "torch_dtype": str(dtype).removeprefix("torch.")}
    paths = [single(folder / "base", base, config)]
    paths += [single(folder / f"ft{n}", tuned(base, n), config) for n in range(1, tasks + 1)]
    return paths[0], paths[1:]


def _blocks(base: Mapping[str, torch.Tensor]) -> int:
    return sum(name.endswith("q_proj.weight") for name in base)
