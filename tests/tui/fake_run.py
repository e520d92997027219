"""Runs with made-up numbers, written with the real writer: some layers done, some pending, failed or skipped."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from globa_tui.coefficients import PATTERNS
from globa_tui.jobs.protocol import JobStatus, write_status
from store.run import Array, RunWriter

KINDS = (
    ("self_attn.q_proj", "q_proj", (4096, 4096)),
    ("self_attn.k_proj", "k_proj", (1024, 4096)),
    ("self_attn.v_proj", "v_proj", (1024, 4096)),
    ("self_attn.o_proj", "o_proj", (4096, 4096)),
    ("mlp.gate_proj", "gate_proj", (11008, 4096)),
    ("mlp.up_proj", "up_proj", (11008, 4096)),
    ("mlp.down_proj", "down_proj", (4096, 11008)),
)
SETTINGS = {
    "svd_energy": [0.9, 0.99],
    "eta": [0.95, 0.8],
    "basis_energy": 0.999,
    "basis": "canonical",
    "anchor": 1,
    "precision": "float32",
    "factors": True,
}


def layers(blocks: int, *, hostile: bool = False) -> list[dict[str, Any]]:
    """The index of a Llama-like model, with one name that tries to steer the terminal when asked."""
    found = [_layer("model.embed_tokens.weight", (32000, 4096), "embed", None, "matrix")]
    for block in range(blocks):
        for name, kind, shape in KINDS:
            found.append(_layer(f"model.layers.{block}.{name}.weight", shape, kind, block, "matrix"))
        found.append(_layer(f"model.layers.{block}.input_layernorm.weight", (4096,), "norm", block, "vector"))
    if hostile:
        found.append(_layer("w[bold]x[/b]\x1b[2J\u202ey.weight", (64, 64), "other", None, "matrix"))
    found.append(_layer("lm_head.weight", (32000, 4096), "lm_head", None, "matrix"))
    return [{"index": index, **layer} for index, layer in enumerate(found)]


def _layer(name: str, shape: tuple[int, ...], kind: str, block: int | None, role: str) -> dict[str, Any]:
    return {
        "name": name,
        "shape": list(shape),
        "dtype": "BF16",
        "kind": kind,
        "block": block,
        "role": role,
        "fine_tuned": [name, name],
        "tied_to": None,
    }


def manifest(blocks: int = 3, *, hostile: bool = False) -> dict[str, Any]:
    """A manifest of two fine-tunes of a made-up base."""
    return {
        "versions": {},
        "sources": [
            {"role": "base", "source": "models/llama-base", "path": "/", "files": []},
            {"role": "fine_tuned", "source": "models/wizardmath", "path": "/", "files": []},
            {"role": "fine_tuned", "source": "models/code", "path": "/", "files": []},
        ],
        "settings": SETTINGS,
        "layers": layers(blocks, hostile=hostile),
        "findings": [
            {"severity": "info", "code": "dtype", "message": "dtypes differ: base BF16, code F32", "tensor": None},
            {"severity": "warning", "code": "absent", "message": "lm_head.weight not in ft2: counts as unchanged",
             "tensor": "lm_head.weight"},
        ],
    }  # fmt: skip


ETAS = (0.7, 0.8, 0.9, 0.95, 0.99)


def record(layer: dict[str, Any], tasks: int = 2) -> dict[str, Any]:
    """The record of a finished layer; its numbers follow from its index."""
    rng = np.random.default_rng(layer["index"])
    energy = rng.dirichlet(np.linspace(4, 1, 6)) * 2.0
    base = {key: layer[key] for key in ("index", "name", "shape", "kind", "block", "role")}
    gram = np.diag([3.0, *energy])
    gram[0, 4] = gram[4, 0] = 0.4
    gram[0, 5] = gram[5, 0] = -0.3
    cross = np.concatenate([gram[:, :1] * 1.02, gram[:, 1:].sum(axis=1, keepdims=True) * 1.01], axis=1)
    half = [float(rng.uniform(0.05, 0.6)), float(rng.uniform(0.05, 0.6))]
    return {
        **base,
        "status": "done",
        "error": None,
        "seconds": round(float(rng.uniform(0.5, 4.0)), 2),
        "norm": {"base": 61.2, "task_vectors": [1.9, 1.6]},
        "relative_size": [float(rng.uniform(0.002, 0.05)), float(rng.uniform(0.002, 0.05))],
        "rank": [int(rng.integers(20, 420)), int(rng.integers(200, 900))],
        "basis_rank": [640, 655],
        "clusters": {
            side: {"directions": int(rng.integers(3, 90)), "energy": float(rng.uniform(0, 0.3))}
            for side in ("left", "right")
        },
        "patterns": {
            "C1": {"count": 41_000, "energy": 3.0},
            **{
                name: {"count": int(rng.integers(10_000, 40_000_000)), "energy": float(value)}
                for name, value in zip(PATTERNS[1:], energy, strict=True)
            },
        },
        "inner": {"C1.D+": 0.4, "C1.D-": -0.3},
        "orthogonality": {"left": half[0], "right": half[1]},
        "what_if": {"eta": [list(ETAS), list(ETAS)]},
        "retained": [0.95, 0.8],
        "stable_rank": [3.2, 7.9],
        "effective_rank": [88.0, 143.5],
        "rank_at": {"0.8": [21, 55], "0.9": [60, 143], "0.95": [122, 260], "0.99": [301, 640]},
        "knee": [{"rank": 55, "energy": 0.88}, {"rank": 101, "energy": 0.84}],
        "blocks": {"both": 0.31, "left": 0.12, "right": 0.17, "none": 0.40},
        "angles": {side: [int(n) for n in rng.integers(0, 60, 9)] for side in ("left", "right")},
        "frozen": [False, False],
        "effect": {
            "labels": list(PATTERNS),
            "gram": gram.tolist(),
            "cross": cross.tolist(),
            "task_energy": [3.2, float(energy.sum() * 1.2)][:tasks],
        },
        "alignment": {
            **{name: {"left": half[0] / 2, "right": half[1] / 2} for name in ("first", "mean")},
            "windows": [4.0 * half[0], 0.5, 0.25, 0.125],
        },
        "sum": {"sai": [0.75, half[0] - 0.5], "sai_first": [1.25, half[1]]},
        "conflict": {
            "magnitude_change": 0.68,
            "sign_change": float(rng.uniform(0.3, 0.5)),
            "conflicting_magnitude_change": 0.46,
            "cosine": float(rng.uniform(-0.2, 0.2)),
            "zeros": [0.01, 0.0],
        },
    }


def arrays(layer: dict[str, Any]) -> dict[str, Array]:
    """Two spectra that fall like power laws, a type map with every code, and the alignment of 32 ranks."""
    rank = np.arange(1, 513, dtype=np.float32)
    found = {
        f"spectrum/{task}": Array(rank ** (-0.3 * task) * (1 + layer["index"] % 7), "1", "singular values", ("rank",))
        for task in (1, 2)
    }
    rows, cols = np.indices((64, 128))
    codes = (rows // 8 + cols // 16).astype(np.uint8) % 8
    found["what_if"] = what_if_grid(record(layer)["patterns"])
    found["type_map"] = Array(codes, "code", "types", ("left", "right"))
    for side in ("left", "right"):
        found[f"alignment/{side}"] = Array(1.0 / rank[:32], "none", "alignment", ("rank",))
    similarity = np.outer(1.0 / rank[:32], 1.0 / rank[:32])
    found["alignment/similarity"] = Array(similarity, "none", "similarity", ("rank", "rank"))
    return found


def what_if_grid(patterns: dict[str, Any]) -> Array:
    """Patterns at every pair of thresholds: the given ones at 0.95 and 0.8, at others more or fewer of the later."""
    own = np.array([[patterns[name][what] for name in PATTERNS] for what in ("count", "energy")])
    anchor, other, place = np.ogrid[-3:2, -1:4, :7]
    grid = own[:, None, None] * (1 + 0.05 * (anchor * place + other))
    return Array(grid, "none", "patterns", ("count or energy", "anchor_eta", "eta", "pattern"))


def write_layer(writer: RunWriter, layer: dict[str, Any]) -> None:
    """Write one layer: vectors are skipped, the fourth tensor and every fortieth after it fail."""
    base = {key: layer[key] for key in ("index", "name", "shape", "kind", "block", "role")}
    if layer["role"] != "matrix":
        writer.write_record({**base, "status": "skipped", "error": None})
    elif layer["index"] % 40 == 3:
        reason = f"{layer['name']}: NaN at row 3; repair the file and resume"
        writer.write_record({**base, "status": "failed", "error": reason})
    else:
        writer.write_layer(record(layer), arrays(layer))


def make_run(path: Path, blocks: int = 3, done: float = 0.6, *, hostile: bool = False) -> Path:
    """A run of which that share of the layers is dealt with, in the order of the index."""
    whole = manifest(blocks, hostile=hostile)
    with RunWriter.create_or_resume(path, whole) as writer:
        for layer in whole["layers"][: round(done * len(whole["layers"]))]:
            write_layer(writer, layer)
    return path


def make_status(path: Path, state: str = "running", kind: str = "analyze", **values: Any) -> JobStatus:
    """A status file as a job in this process would write it."""
    counts: dict[str, Any] = {"total": 26, "done": 16, "failed": 1, "cost_total": 100.0, "cost_done": 52.0}
    counts |= {"eta_seconds": 4320.0, "current": "model.layers.1.mlp.up_proj.weight", **values}
    status = JobStatus.of_this_process(kind, state, **counts)  # type: ignore[arg-type]
    write_status(path, status)
    return status


def main() -> None:
    """Write a fake run, slowly when asked, as a job would."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--blocks", type=int, default=28)
    parser.add_argument("--done", type=float, default=0.6)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds per layer for the rest")
    options = parser.parse_args()
    path = make_run(options.path, options.blocks, options.done, hostile=True)
    if not options.pace:
        return
    whole = json.loads((path / "run.json").read_text())
    with RunWriter.create_or_resume(path, whole) as writer:
        total = len(whole["layers"])
        for layer in whole["layers"]:
            if layer["index"] in writer.finished:
                continue
            time.sleep(options.pace)
            write_layer(writer, layer)
            values = {"total": total, "done": layer["index"] + 1, "cost_total": total, "cost_done": layer["index"] + 1}
            left = (total - layer["index"]) * options.pace
            make_status(path, "running", eta_seconds=left, current=layer["name"], **values)
    make_status(path, "complete", total=total, done=total, failed=0, message=f"pid {os.getpid()} done")


if __name__ == "__main__":
    main()
