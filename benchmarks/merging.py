"""Merging: against copying the same bytes, from factors against from scratch, and against mergekit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from benchmarks.measure import Row, ratio_row
from benchmarks.memory import child

_ROOT = Path(__file__).parents[1]
_ENVIRONMENT = _ROOT / "build" / "mergekit-env"

_MERGE = """
import os, shutil, time, torch
torch.set_num_threads({threads})
from pathlib import Path
from globa_tui.jobs.merge import run_merge
from globa_tui.recipe import Recipe
sources, folder = {sources!r}, Path({folder!r})
def copy():
    block = memoryview(bytearray(1 << 20))
    with open(folder / "copy.bin", "wb", buffering=0) as out:
        for source in sources:
            with open(Path(source) / "model.safetensors", "rb", buffering=0) as file:
                while count := file.readinto(block):
                    if source == sources[0]:
                        out.write(block[:count])
        os.fsync(out.fileno())
    (folder / "copy.bin").unlink()
def merge():
    run_merge(Recipe(base=sources[0], fine_tuned=tuple(sources[1:]), method={method!r}), folder / "out")
    shutil.rmtree(folder / "out")
def timed(function):
    wall, cpu = time.monotonic(), time.process_time()
    function()
    return time.monotonic() - wall, time.process_time() - cpu
merge()
extra = {{"pairs": [(timed(merge), timed(copy)) for _ in range({rounds})]}}
"""

_FROM_FACTORS = """
import time, torch
torch.set_num_threads({threads})
from pathlib import Path
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.recipe import Recipe
sources, folder = {sources!r}, Path({folder!r})
run_analysis(AnalysisRequest(sources[0], tuple(sources[1:]), folder / "run", AnalysisSettings()))
def timed(recipe, name):
    before = time.process_time()
    run_merge(recipe, folder / name)
    return time.process_time() - before
scratch = timed(Recipe(base=sources[0], fine_tuned=tuple(sources[1:])), "scratch")
again = [timed(Recipe(run=str(folder / "run")), f"factors{{number}}") for number in range(3)]
extra = {{"scratch": scratch, "factors": min(again)}}
"""

METHODS = {
    "linear": "parameters: {normalize: false}",
    "task_arithmetic": "parameters: {normalize: false}",
    "ties": "parameters: {normalize: true}",
    "dare_ties": "parameters: {normalize: true}",
    "slerp": "parameters: {t: 0.5}",
}


def llama(folder: Path, seed: int, layers: int, hidden: int, vocab: int = 4096) -> str:
    """A checkpoint in bfloat16 with the names and shapes of Llama; seed 0 is the base, others are fine-tunes of it."""
    inner = hidden * 11 // 4
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "lm_head.weight": (vocab, hidden)}
    shapes["model.norm.weight"] = (hidden,)
    for layer in range(layers):
        block = f"model.layers.{layer}"
        shapes |= {f"{block}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"{block}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{block}.mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{block}.{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    common, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        tensor = 0.02 * torch.randn(shape, generator=common)
        tensors[name] = (tensor + (0.002 * torch.randn(shape, generator=own) if seed else 0.0)).bfloat16()
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 8, "vocab_size": vocab,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def _sources(folder: Path, layers: int, hidden: int) -> tuple[str, ...]:
    return tuple(llama(folder / name, seed, layers, hidden) for seed, name in enumerate(("base", "one", "two")))


def against_copy(layers: int, hidden: int, threads: int, rounds: int, method: str) -> list[Row]:
    """A merge without analysis against a copy of the same bytes: what it must read and what it must write.

    The copy reads base and fine-tunes in blocks of 1 MB, writes as many bytes as the result has, and syncs them, as the
    merge does. Files are in the cache. The first merge, which imports what it needs, is not counted. A third of
    a second for plan and check does not grow with the weights: they must be many for the rest to show.
    """
    with tempfile.TemporaryDirectory() as place:
        sources = _sources(Path(place), layers, hidden)
        size = sum((Path(source) / "model.safetensors").stat().st_size for source in sources)
        found = child(_MERGE.format(sources=sources, folder=place, method=method, threads=threads, rounds=rounds))
    rows = []
    for number, clock in enumerate(("wall time", "processor time")):
        ratio = median(merge[number] / copy[number] for merge, copy in found["pairs"])
        what = f"merge / copy of the same bytes, {method}, {size / 1e9:.1f} GB of checkpoints in bf16, {clock}"
        rows.append(ratio_row(what, ratio, 1.5, at_least=False, **found))
    return rows


def from_factors(layers: int, hidden: int, threads: int) -> Row:
    """A merge from a run that kept its factors against one that analyses again."""
    with tempfile.TemporaryDirectory() as place:
        sources = _sources(Path(place), layers, hidden)
        found = child(_FROM_FACTORS.format(sources=sources, folder=place, threads=threads))
    ratio = found["scratch"] / found["factors"]
    return ratio_row(
        f"merge from scratch / from factors, {layers} blocks of hidden size {hidden}",
        ratio,
        10.0,
        at_least=True,
        **found,
    )


@dataclass(frozen=True)
class _Cost:
    """What one command took."""

    cpu: float
    wall: float
    peak: int


_COMMAND = """
import json, os, resource, subprocess, sys, time
start = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
if done.returncode:
    sys.exit(done.stdout[-2000:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "wall": time.monotonic() - start, "peak": peak}))
"""
"""Started from a large process, a command would count that one's memory as its own; this one is small."""


def _run(command: list[str], threads: int) -> _Cost:
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    small = [sys.executable, "-S", "-c", _COMMAND, *command]
    done = subprocess.run(small, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{command}: {done.stderr}"
        raise RuntimeError(msg)
    return _Cost(**json.loads(done.stdout))


def mergekit_environment(make: bool) -> Path | None:
    """Where mergekit is: `$MERGEKIT_ENV`, or an environment of its own below build/, which `make` makes."""
    place = Path(os.environ.get("MERGEKIT_ENV", _ENVIRONMENT))
    if not (place / "bin" / "mergekit-yaml").exists() and make:
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        for package in (f"torch=={torch.__version__.split('+')[0]}", "mergekit"):
            subprocess.run([place / "bin" / "pip", "install", "--quiet", package], check=True)
    return place if (place / "bin" / "mergekit-yaml").exists() else None


def against_mergekit(place: Path, layers: int, hidden: int, threads: int, rounds: int) -> Iterator[Row]:
    """The same YAML with both programs, as whole commands: processor time and peak memory.

    That both give the same numbers, `benchmarks.mergekit_parity` checks.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = _sources(folder, layers, hidden)
        for method, parameters in METHODS.items():
            recipe = folder / f"{method}.yaml"
            recipe.write_text(_yaml(method, parameters, sources))
            costs = []
            for number in range(rounds):
                outs = [folder / f"{method}-{who}{number}" for who in ("theirs", "ours")]
                theirs = [str(place / "bin" / "mergekit-yaml"), str(recipe), str(outs[0]), "--no-copy-tokenizer"]
                ours = [sys.executable, "-m", "globa_tui", "merge", str(recipe), "-o", str(outs[1]), "--quiet"]
                costs.append((_run([*theirs, "--quiet"], threads), _run([*ours, "--no-check"], threads)))
            yield from _rows(method, costs)


def _yaml(method: str, parameters: str, sources: tuple[str, ...]) -> str:
    base, one, two = sources
    lines = [f"merge_method: {method}", parameters, "dtype: bfloat16", "models:"]
    own = "" if method == "slerp" else "\n    parameters: {weight: 0.5, density: 0.5}"
    if method in ("linear", "task_arithmetic"):
        own = "\n    parameters: {weight: 0.5}"
    lines += [f"  - model: {model}{own}" for model in (one, two)]
    if method != "linear":
        lines.insert(1, f"base_model: {one if method == 'slerp' else base}")
    return "\n".join(lines) + "\n"


def _rows(method: str, costs: list[tuple[_Cost, _Cost]]) -> Iterator[Row]:
    for what, key in (("processor time", "cpu"), ("peak memory", "peak")):
        pairs = [(float(getattr(theirs, key)), float(getattr(ours, key))) for theirs, ours in costs]
        ratio = median(theirs / ours for theirs, ours in pairs)
        yield ratio_row(f"mergekit / ours, {method}, {what}", ratio, 1.0, at_least=True, pairs=pairs)
