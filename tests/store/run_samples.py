"""Small runs for the tests of the store."""

from pathlib import Path
from typing import Any

import numpy as np

from store.run import Array, RunWriter


def layers(count: int) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "name": f"model.layers.{index}.self_attn.q_proj.weight",
            "shape": [6, 4],
            "dtype": "BF16",
            "kind": "q_proj",
            "block": index,
            "role": "matrix",
            "fine_tuned": [f"model.layers.{index}.self_attn.q_proj.weight"] * 2,
            "tied_to": None,
        }
        for index in range(count)
    ]


def source(role: str, path: str, header: str) -> dict[str, Any]:
    file = {"name": "model.safetensors", "size": 1000, "mtime_ns": 17, "header_sha256": header}
    return {"role": role, "source": path, "path": path, "files": [file]}


def manifest(count: int = 6, **settings: Any) -> dict[str, Any]:
    return {
        "versions": {"globa-tui": "0.1.0"},
        "sources": [source("base", "/m/base", "a" * 64), source("fine-tune 1", "/m/one", "b" * 64)],
        "settings": {"eta": [0.95, 0.8], "basis": "canonical", **settings},
        "layers": layers(count),
        "findings": [],
    }


def record(index: int, status: str = "done", **more: Any) -> dict[str, Any]:
    layer = layers(index + 1)[index]
    kept = {key: layer[key] for key in ("index", "name", "shape", "kind", "block", "role")}
    return {**kept, "status": status, "error": None, "seconds": 0.5, "rank": [index, 2], **more}


def arrays(index: int, size: int = 5) -> dict[str, Array]:
    """Numbers that tell which layer they belong to."""
    generator = np.random.default_rng(index)
    return {
        "spectrum/1": Array(generator.random(size), "1", "singular values of task vector 1", ("rank",)),
        "basis/left": Array(
            generator.random((6, 3)).astype(np.float32), "1", "left common basis", ("rows", "directions")
        ),
        "type_map": Array(generator.integers(0, 8, (4, 5), dtype=np.uint8), "1", "types", ("rows", "columns")),
    }


def write(path: Path, count: int = 6, done: int | None = None, **settings: Any) -> Path:
    """Write a run with so many layers, of which so many are done."""
    with RunWriter.create_or_resume(path, manifest(count, **settings)) as writer:
        for index in range(count if done is None else done):
            writer.write_layer(record(index), arrays(index))
        return writer.path


def assert_layer(found: dict[str, Any], index: int) -> None:
    expected = arrays(index)
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.values.dtype
        np.testing.assert_array_equal(found[name], array.values)
