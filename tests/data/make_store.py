"""Make the real run that is kept for the format of this version; run once before a release that changes the format.

    python -m tests.data.make_store tests/data/stores/real-v1

Three tiny models, their analysis, and what `show --json` and a merge made of it then. Runs that are kept are not made
again: they are what people have on their disks.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch

from tests.cli.records import call
from tests.store import make

PLACE = "/models-of-then"
"""Stands in the manifest for the folder in which the run was made."""

SHAPES: dict[str, tuple[int, ...]] = {
    "model.layers.0.self_attn.q_proj.weight": (6, 4),
    "model.layers.0.mlp.up_proj.weight": (5, 6),
    "model.layers.0.mlp.down_proj.weight": (4, 4),
    "model.norm.weight": (4,),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    for number, model in enumerate(("base", "ft1", "ft2")):
        moved = {n: w + 0.1 * number * torch.randn(w.shape, generator=generator) for n, w in base.items()}
        if number == 2:
            moved["model.layers.0.mlp.down_proj.weight"][0, 0] = float("nan")
        make.single(folder / "models" / model, moved, {"architectures": ["LlamaForCausalLM"]})
    sources = [str(folder / "models" / model) for model in ("base", "ft1", "ft2")]
    run = folder / "run"
    call("analyze", *sources, "--store", str(run), "--quiet")
    run = run.with_suffix(".globa")
    shutil.rmtree(run / "jobs")
    out = folder / "out"
    assert call("merge", str(run), "-o", str(out), "--allow-failed", "--quiet").code == 0
    (out / "model.safetensors").rename(folder / "merged.safetensors")
    shutil.rmtree(out)
    layers = json.loads(call("show", str(run), "--json").out)["layers"]
    shutil.rmtree(run / "jobs", ignore_errors=True)
    manifest = (run / "run.json").read_text().replace(str(folder), PLACE)
    (run / "run.json").write_text(manifest)
    run.rename(folder / "run")  # *.globa is what git leaves out
    (folder / "then.json").write_text(json.dumps(layers, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
