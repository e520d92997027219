"""LoRA adapters for tests, made by hand in PEFT's layout, and what they mean, worked out in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

PREFIX = "base_model.model."
CONFIG: dict[str, object] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "fan_in_fan_out": False, "bias": "none"}


def factors(
    rows: int, cols: int, rank: int = 4, seed: int = 0, scale: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """A (rank × cols) and B (rows × rank)."""
    generator = torch.Generator().manual_seed(seed)
    return (
        scale * torch.randn(rank, cols, generator=generator),
        scale * torch.randn(rows, rank, generator=generator),
    )


def adapter(
    folder: Path,
    modules: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    whole: Mapping[str, torch.Tensor] | None = None,
    **config: object,
) -> Path:
    """A folder with one adapter; `modules` maps module names to (A, B)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {PREFIX + name: tensor for name, tensor in (whole or {}).items()}
    for module, (down, up) in modules.items():
        tensors |= {f"{PREFIX}{module}.lora_A.weight": down, f"{PREFIX}{module}.lora_B.weight": up}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def lora(base: Mapping[str, torch.Tensor], folder: Path, kinds: tuple[str, ...], seed: int, rank: int = 4) -> Path:
    """An adapter for every module of a base whose name ends in one of `kinds`."""
    modules = {}
    for number, (name, weight) in enumerate(base.items()):
        module = name.removesuffix(".weight")
        if module.endswith(kinds):
            modules[module] = factors(*weight.shape, rank=rank, seed=100 * seed + number)
    return adapter(folder, modules, r=rank)


def applied(base: Mapping[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """The weights of base plus adapter, for plain adapters of one scale."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text())
    found = load_file(folder / "adapter_model.safetensors")
    result = {name: weight.double() for name, weight in base.items()}
    for name, down in found.items():
        if name.endswith(".lora_A.weight"):
            up = found[name.replace("lora_A", "lora_B")]
            target = name.removeprefix(PREFIX).replace(".lora_A", "")
            result[target] += config["lora_alpha"] / config["r"] * (up.double() @ down.double())
    return result
