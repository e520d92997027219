"""Small checkpoints for tests, made byte by byte so that broken ones are as easy as whole ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from store.checkpoints import Checkpoint, TensorHeader
from store.checkpoints.dtypes import BITS

Spec = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor names to type and shape."""


def header_of(spec: Spec) -> dict[str, object]:
    """The header a safetensors file with these tensors has."""
    entries: dict[str, object] = {}
    begin = 0
    for name, (dtype, shape) in spec.items():
        end = begin + size_of(dtype, shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    return entries


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor."""
    count = 1
    for size in shape:
        count *= size
    return count * BITS[dtype] // 8


def raw_file(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A file with any header, true or not. Bytes are taken as they are, everything else becomes JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def zero_file(path: Path, spec: Spec) -> Path:
    """A safetensors file of zeros."""
    return raw_file(path, header_of(spec), bytes(sum(size_of(*one) for one in spec.values())))


def single(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, object] | None = None) -> Path:
    """A folder with one model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return with_config(folder, config)


def sharded(folder: Path, tensors: Mapping[str, torch.Tensor], count: int) -> Path:
    """A folder with shards and their index; tensors are dealt out in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    weight_map = {name: names[position % count] for position, name in enumerate(tensors)}
    for number, file in enumerate(names):
        save_file({name: tensors[name].contiguous() for name in list(tensors)[number::count]}, folder / file)
    write_index(folder, weight_map)
    return folder


def write_index(folder: Path, weight_map: Mapping[str, object]) -> None:
    """An index file."""
    text = json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


def with_config(folder: Path, config: Mapping[str, object] | None) -> Path:
    """Add a config.json."""
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def legacy(folder: Path, tensors: Mapping[str, object], *, zipped: bool = True) -> Path:
    """A folder with one pytorch_model.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(tensors), folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return folder


def described(
    shapes: Mapping[str, tuple[int, ...]], *, dtype: str = "F32", config: Mapping[str, object] | None = None
) -> Checkpoint:
    """A checkpoint that exists only as headers, for pairing."""
    file = Path("model.safetensors")
    tensors: dict[str, TensorHeader] = {}
    offset = 0
    for name, shape in shapes.items():
        nbytes = size_of(dtype, shape)
        tensors[name] = TensorHeader(name, dtype, shape, file, offset, nbytes)
        offset += nbytes
    return Checkpoint("described", file, "safetensors", tensors, (), config or {})


def renamed(checkpoint: Checkpoint, old: str, new: str) -> Checkpoint:
    """The same checkpoint with a prefix replaced where names have it."""
    shapes = {
        new + name.removeprefix(old) if name.startswith(old) else name: header.shape
        for name, header in checkpoint.tensors.items()
    }
    return described(shapes, config=checkpoint.config)


def hub_cache(root: Path, repo: str, files: Mapping[str, bytes], *, commit: str = "0123abcd" * 5) -> Path:
    """A Hugging Face cache that holds one revision of one repository, as links to blobs. Returns the snapshot."""
    repository = root / ("models--" + repo.replace("/", "--"))
    snapshot = repository / "snapshots" / commit
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    snapshot.mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        (repository / "blobs" / f"blob{number}").write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / f"blob{number}")
    return snapshot


def llama_shapes(layers: int = 2, width: int = 4) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a small Llama with output embeddings of its own."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (10, width)}
    for number in range(layers):
        for module in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
            shapes[f"model.layers.{number}.{module}.weight"] = (width, width)
        shapes[f"model.layers.{number}.input_layernorm.weight"] = (width,)
    return {**shapes, "model.norm.weight": (width,), "lm_head.weight": (10, width)}
