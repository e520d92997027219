"""Peak memory of merges against four times the largest tensor and 0.6 GB.

`python -m benchmarks.merge_memory [BLOCKS] [NAME …]` for models of a few blocks, `… square SIDE NAME …` for two square
matrices of that side, `… llama [INNER] NAME …` for a block of Llama 7B below its embedding, or of a model whose
feed-forward layers are as wide as that (14336: Mistral 7B), `… tenfold [ROWSxCOLS] NAME …` for
a model that is ten times as large as that bound.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from analysis.merge import METHODS
from benchmarks.measure import Row, table
from benchmarks.memory import child

_MAKE = """
import json, torch
from pathlib import Path
from safetensors.torch import save_file
folder = Path({folder!r}); folder.mkdir()
shapes = {shapes!r}
pool = torch.randn((1 << 22) + max(rows * cols for rows, cols in shapes.values()), generator=torch.Generator().manual_seed(0))
def drawn(place, shape):
    start = place * 104729 % (1 << 22)
    return pool[start : start + shape[0] * shape[1]].reshape(shape)
files = {{}}
names = list(shapes)
for number, first in enumerate(range(0, len(names), 16)):
    weights = {{}}
    for place, name in enumerate(names[first : first + 16], first):
        moved = {change} * drawn(7919 * {seed} + place, shapes[name])
        weights[name] = moved.add_(drawn(place, shapes[name]), alpha=0.02).bfloat16()
        files[name] = f"model-{{number}}.safetensors"
    save_file(weights, folder / f"model-{{number}}.safetensors")
(folder / "model.safetensors.index.json").write_text(json.dumps({{"weight_map": files}}))
(folder / "config.json").write_text("{{}}")
"""  # noqa: E501

_MERGE = """
import torch
torch.set_num_threads(1)
from pathlib import Path
from globa_tui.jobs.merge import run_merge
from globa_tui.recipe import Recipe
run_merge(Recipe(base={base!r}, fine_tuned={tuned!r}, method={method!r}, params={params!r}), Path({out!r}))
"""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "ties": [{}, {"variant": "mergekit", "density": 0.2}],
    "dare_linear": [{}, {"variant": "mergekit", "density": 0.5}],
    "dare_ties": [{}, {"variant": "mergekit", "density": 0.5, "trim_density": 0.2}],
}


def shapes(blocks: int, embedding: tuple[int, int] | None, side: int) -> dict[str, tuple[int, int]]:
    """An embedding, the largest tensor, and blocks of square matrices."""
    names = [f"model.layers.{n}.self_attn.{kind}_proj.weight" for n in range(blocks) for kind in "qkvo"]
    first = {"model.embed_tokens.weight": embedding} if embedding is not None else {}
    return {**first, **dict.fromkeys(names, (side, side))}


def merge_rows(methods: list[str], made: dict[str, tuple[int, int]], title: str) -> list[Row]:
    """Peak memory of every method on a base and two fine-tunes in bfloat16 with tensors of these shapes."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, seed, change in (("base", 0, 0.0), ("one", 1, 0.002), ("two", 2, 0.002)):
            child(_MAKE.format(folder=str(folder / name), seed=seed, change=change, shapes=made))
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        largest = 2 * max(rows * cols for rows, cols in made.values())
        bound = 4 * largest + 0.6e9
        for method in methods:
            for params in VARIANTS.get(method, [{}]):
                out = folder / "out"
                tuned = (str(folder / "one"), str(folder / "two"))
                found = child(
                    _MERGE.format(base=str(folder / "base"), tuned=tuned, method=method, params=params, out=str(out))
                )
                for file in out.iterdir():
                    file.unlink()
                out.rmdir()
                words = " ".join([method, *(f"{key}={value}" for key, value in params.items())])
                what = f"peak memory of `{words}`, {title}, {size / 1e9:.1f} GB of sources"
                reached = found["peak"] <= bound
                rows.append(Row(what, found["peak"] / 1e9, "GB", f"≤ {bound / 1e9:.2f} GB", reached, found))
                print(json.dumps({"what": what, **found}), file=sys.stderr, flush=True)
    return rows


def main(methods: list[str], blocks: int = 2) -> None:
    """A model whose largest tensor is its embedding, as in most, and one of square matrices alone."""
    chosen = methods or ["globa", *METHODS]
    rows = merge_rows(chosen, shapes(blocks, (32768, 1024), 1024), f"32768×1024 and {4 * blocks} of 1024²")
    if decomposing := [name for name in chosen if name.startswith(("globa", "tsv", "iso", "align"))]:
        rows += square(decomposing, 2048)
    print(table(rows))


def square(methods: list[str], side: int) -> list[Row]:
    """Nothing but two square matrices: the largest tensor is decomposed."""
    two = dict(list(shapes(1, None, side).items())[:2])
    return merge_rows(methods, two, f"2 of {side}²")


def llama(methods: list[str], inner: int = 11008) -> None:
    """The shapes of Llama 7B, each once: the matrices are large, and the embedding is larger."""
    made = {
        "model.embed_tokens.weight": (32000, 4096),
        "model.layers.0.self_attn.q_proj.weight": (4096, 4096),
        "model.layers.0.mlp.gate_proj.weight": (inner, 4096),
        "model.layers.0.mlp.down_proj.weight": (4096, inner),
    }
    print(table(merge_rows(methods, made, f"32000×4096, 4096², {inner}×4096 and 4096×{inner}")))


def tenfold(methods: list[str], rows: int = 2048, cols: int = 2048) -> None:
    """A model of 6.4 GB in matrices of one shape; with fine-tunes and result, 26 GB on the disk."""
    blocks = 190 * 2048**2 // (rows * cols)
    made = dict.fromkeys(shapes(blocks, None, rows), (rows, cols))
    print(table(merge_rows(methods, made, f"{4 * blocks} of {rows}×{cols}")))


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["tenfold"]:
        shape = [int(side) for word in words[1:2] if word[0].isdigit() for side in word.split("x")]
        tenfold(words[2 if shape else 1 :], *shape)
    elif words[:1] == ["llama"]:
        llama([word for word in words[1:] if not word.isdigit()], *(int(word) for word in words[1:] if word.isdigit()))
    elif words[:1] == ["square"]:
        print(table(square(words[2:], int(words[1]))))
    else:
        main([word for word in words if not word.isdigit()], *(int(word) for word in words if word.isdigit()))
