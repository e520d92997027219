"""A small run with made-up records, and the command line called in this process."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from globa_tui.cli import run

HOSTILE = "=cmd|' /C'!A0\x1b[2J[bold]"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def call(*argv: str) -> Result:
    """Run a command line as a script would: neither stdout nor stderr is a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(argv)
    return Result(code, out.getvalue(), err.getvalue())


LAYERS: list[dict[str, Any]] = [
    {"name": "model.layers.0.self_attn.q_proj.weight", "shape": [8, 6], "kind": "q_proj", "block": 0, "role": "matrix"},
    {"name": "model.layers.0.mlp.up_proj.weight", "shape": [12, 8], "kind": "up_proj", "block": 0, "role": "matrix"},
    {"name": HOSTILE, "shape": [4, 4], "kind": "weird", "block": None, "role": "matrix"},
    {"name": "model.norm.weight", "shape": [8], "kind": "norm", "block": None, "role": "vector"},
]


def manifest(layers: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    listed = LAYERS if layers is None else layers
    names = {"dtype": "BF16", "tied_to": None}
    return {
        "versions": {"globa-tui": "0.1.0"},
        "sources": [
            {"role": "base", "source": "org/base", "path": "/nowhere/base", "files": []},
            {"role": "fine_tuned", "source": "ft1", "path": "/nowhere/ft1", "files": []},
            {"role": "fine_tuned", "source": "ft2", "path": "/nowhere/ft2", "files": []},
        ],
        "settings": {"svd_energy": [0.9, 0.99], "eta": [0.95, 0.8]},
        "layers": [
            {"index": index, **names, **layer, "fine_tuned": [layer["name"]] * 2} for index, layer in enumerate(listed)
        ],
        "findings": [],
    }


def done(index: int, layers: list[dict[str, Any]] | None = None, scale: float = 1.0) -> dict[str, Any]:
    """A finished record; `scale` tells layers apart."""
    energies = {"C1": 10.0, "A": 4.0, "B": 2.0, "C": 1.0, "D+": 0.5, "D-": 0.25, "E": 0.25}
    return {
        "index": index,
        **(LAYERS if layers is None else layers)[index],
        "status": "done",
        "error": None,
        "seconds": 1.5,
        "norm": {"base": 20.0, "task_vectors": [3.5, 3.0 * scale]},
        "relative_size": [0.175, 0.15 * scale],
        "rank": [4, 2],
        "basis_rank": [6, 5],
        "clusters": {"left": {"directions": 2, "energy": 0.5}, "right": {"directions": 1, "energy": 0.25}},
        "patterns": {
            name: {"count": 3 + number, "energy": energy * (scale if name != "A" else 1.0)}
            for number, (name, energy) in enumerate(energies.items())
        },
        "inner": {"C1.D+": 2.0, "C1.D-": -1.0},
        "orthogonality": {"left": 0.125 * scale, "right": 0.25},
        "retained": [0.95, 0.8],
        "stable_rank": [2.5, 1.5],
        "alignment": {},
        "conflict": {},
    }


def make_run(folder: Path, *, complete: bool = True) -> Path:
    """Write a run of four layers: two done, one failed, one skipped; or only the first of them done."""
    from store.run import RunWriter

    with RunWriter.create_or_resume(folder / "r", manifest()) as writer:
        writer.write_layer(done(0), {})
        if complete:
            writer.write_layer(done(1, scale=2.0), {})
            writer.write_record({"index": 2, **LAYERS[2], "status": "failed", "error": "holds\x1b[31m NaN"})
        writer.write_record({"index": 3, **LAYERS[3], "status": "skipped", "error": None})
        return Path(writer.path)
