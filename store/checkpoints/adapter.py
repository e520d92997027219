"""LoRA adapters in the layout of PEFT: which tensors they change, and the factors of each change."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from store.checkpoints.adapter_config import AdapterConfig
from store.checkpoints.model import LowRank, TensorHeader
from store.checkpoints.text import shown, shown_shape
from store.errors import CheckpointError

_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[\w-]+))?\.weight")
_EMBEDDING = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<side>[AB])(?:\.(?P<adapter>[\w-]+))?")
_SAVED = re.compile(r"\.modules_to_save(?:\.[\w-]+)?(?=\.(?:weight|bias)$)")


@dataclasses.dataclass(frozen=True)
class AdapterTensors:
    """What an adapter holds, under the names that its base would give the tensors."""

    tensors: Mapping[str, TensorHeader]
    """Every tensor it changes; those with factors in the shape of the product."""
    low_rank: Mapping[str, LowRank]


def adapter_tensors(found: Iterable[TensorHeader], config: AdapterConfig, folder: Path) -> AdapterTensors:
    """Sort the tensors of an adapter file into factors and whole tensors.

    Parameters
    ----------
    found : iterable of TensorHeader
        As they stand in the file, e.g. ``base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight``.
    config : AdapterConfig
        Scales and orientation.
    folder : Path
        For messages.

    Raises
    ------
    CheckpointError
        Where a factor has no partner or another rank, or a tensor belongs to something else than plain LoRA.
    """
    sides: dict[tuple[str, bool], dict[str, TensorHeader]] = {}
    whole: dict[str, TensorHeader] = {}
    adapters: set[str] = set()
    for header in found:
        name = header.name.removeprefix(_PREFIX)
        match = _FACTOR.fullmatch(name) or _EMBEDDING.fullmatch(name)
        if match is not None:
            adapters.add(match["adapter"] or "")
            sides.setdefault((match["module"], ".lora_embedding_" in name), {})[match["side"]] = header
        elif ".original_module." not in name:
            whole[_whole_name(name, header, folder)] = header
    if len(adapters) > 1:
        listed = ", ".join(sorted(adapters))
        raise _broken(folder, f"holds several adapters ({shown(listed)})", "save each of them in a folder of its own")
    low_rank = {
        f"{module}.weight": _pair(module, pair, config, folder, embedding=embedding)
        for (module, embedding), pair in sides.items()
    }
    for name in low_rank.keys() & whole.keys():
        low_rank[name] = dataclasses.replace(low_rank[name], over=whole[name])
    described = {name: _described(name, one) for name, one in low_rank.items()}
    return AdapterTensors({**whole, **described}, low_rank)


def _whole_name(name: str, header: TensorHeader, folder: Path) -> str:
    """Name of a tensor that the adapter replaces: a module that was trained in full, or a bias."""
    if "lora_" in name.lower() or "token_adapter" in name:
        cure = "merge it into its base with PEFT (merge_and_unload) and name the result"
        raise _broken(folder, f"tensor {shown(header.name)} is no part of a plain LoRA adapter", cure)
    return _SAVED.sub("", name.replace(".base_layer.", "."))


def _pair(
    module: str, pair: Mapping[str, TensorHeader], config: AdapterConfig, folder: Path, *, embedding: bool
) -> LowRank:
    down, up = pair.get("A"), pair.get("B")
    if down is None or up is None:
        lone = down or up
        fault = f"tensor {shown(lone.name if lone else module)} has no partner {'lora_B' if down else 'lora_A'}"
        raise _broken(folder, fault, "fetch the adapter again")
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[0] != up.shape[1]:
        fault = f"{shown(module)}: lora_A {shown_shape(down.shape)} and lora_B {shown_shape(up.shape)} have no product"
        raise _broken(folder, fault, "only linear layers and embeddings are supported; merge it with PEFT first")
    expected = config.rank(module)
    if down.shape[0] != expected:
        fault = f"{shown(module)}: rank {expected} by adapter_config.json, lora_A has {down.shape[0]} rows"
        raise _broken(folder, fault, "fetch config and adapter again")
    return LowRank(down, up, config.scale(module), flipped=embedding or config.fan_in_fan_out)


def _described(name: str, one: LowRank) -> TensorHeader:
    return TensorHeader(name, one.up.dtype, one.shape, one.up.file, one.up.offset, one.up.nbytes + one.down.nbytes)


def _broken(folder: Path, fault: str, cure: str) -> CheckpointError:
    return CheckpointError(f"{shown(folder)}: {fault}; {cure}")
