"""Peak memory and time of whole commands, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Row

GIB = 1 << 30

_CHILD = """
import json, resource, sys, time
start, cpu = time.monotonic(), time.process_time()
exec(sys.argv[1])
if sys.platform == "linux":
    # What getrusage says begins with the size of the process that this one was started from.
    peak = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"peak": peak, "wall": time.monotonic() - start, "cpu": time.process_time() - cpu, **globals().get("extra", {})}))
"""  # noqa: E501

_ANALYSE = """
import torch
torch.set_num_threads({threads})
from pathlib import Path
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
summary = run_analysis(AnalysisRequest({base!r}, {tuned!r}, Path({store!r}), AnalysisSettings(factors={factors})))
extra = {{"done": summary.done, "failed": list(summary.failed)}}
"""

_MAKE = """
import json, torch
from pathlib import Path
from safetensors.torch import save_file
folder = Path({folder!r}); folder.mkdir()
generator = torch.Generator().manual_seed({seed})
common = torch.Generator().manual_seed(0)
def weight(index):
    base = 0.02 * torch.randn({rows}, {cols}, generator=common)
    if {change} == 0.0 or index >= {changed}:
        return base.to(torch.{dtype})
    return (base + {change} * torch.randn({rows}, {cols}, generator=generator)).to(torch.{dtype})
save_file({{f"model.layers.{{i}}.mlp.experts.0.up_proj.weight": weight(i) for i in range({layers})}}, folder / "model.safetensors")
(folder / "config.json").write_text("{{}}")
"""  # noqa: E501


def child(code: str) -> dict[str, Any]:
    """Run code in a fresh interpreter; its peak memory, wall and processor seconds."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", _CHILD, code], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr or f"ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_models(
    folder: Path, layers: int, rows: int, cols: int, dtype: str, changed: int | None = None
) -> tuple[str, tuple[str, ...]]:
    """A base and two fine-tunes of random weights, which move only the first `changed` layers when that is given."""
    moved = layers if changed is None else changed
    for name, seed, change in (("base", 0, 0.0), ("one", 1, 0.002), ("two", 2, 0.002)):
        values = {
            "seed": seed,
            "change": change,
            "layers": layers,
            "rows": rows,
            "cols": cols,
            "dtype": dtype,
            "changed": moved,
        }
        child(_MAKE.format(folder=str(folder / name), **values))
    return str(folder / "base"), (str(folder / "one"), str(folder / "two"))


def analyse(folder: Path, models: tuple[str, tuple[str, ...]], threads: int, *, factors: bool) -> dict[str, Any]:
    """Peak memory and time of the analysis of a checkpoint."""
    values = {"base": models[0], "tuned": models[1], "store": str(folder / "run"), "factors": factors}
    return child(_ANALYSE.format(threads=threads, **values))


def analysis_memory(layers: int, rows: int, cols: int, threads: int, changed: int | None = None) -> Row:
    """Peak memory of an analysis against ten times its largest layer plus 0.6 GB."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models = make_models(folder, layers, rows, cols, "bfloat16", changed)
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        found = analyse(folder, models, threads, factors=True)
    bound = 10 * 4 * rows * cols + 0.6e9
    return Row(
        f"peak memory, {layers} layers of {rows}×{cols}, {size / 1e9:.1f} GB of checkpoints",
        found["peak"] / 1e9, "GB", f"≤ {bound / 1e9:.2f} GB", found["peak"] <= bound, found,
    )  # fmt: skip


def small_layers(count: int, threads: int) -> Row:
    """What a layer costs beyond its mathematics and its share of the start, on a checkpoint of 16×16 matrices.

    Mathematics is what makes the numbers that are kept: the analysis, the scalars of the record, the arrays. What is
    left is reading, JSON, HDF5, the disk, and threads that wait for each other.
    """
    few = count // 10
    with tempfile.TemporaryDirectory() as place:
        whole, start = (_small_job(Path(place) / str(number), number, threads) for number in (count, few))
    mathematics = child(_MATHEMATICS.format(threads=threads, count=min(count, 2000)))
    each = (whole["cpu"] - start["cpu"]) / (count - few)
    beyond = each - mathematics["analysis"] - mathematics["numbers"]
    return Row(
        f"per layer beyond its mathematics, {count:,} layers of 16×16",
        1e3 * beyond, "ms", "≤ 5 ms", beyond <= 5e-3,
        {"each": each, "job_wall": whole["wall"], **mathematics},
    )  # fmt: skip


def _small_job(folder: Path, count: int, threads: int) -> dict[str, Any]:
    folder.mkdir()
    return analyse(folder, make_models(folder, count, 16, 16, "float32"), threads, factors=True)


_MATHEMATICS = """
import torch, time
torch.set_num_threads({threads})
from analysis.layer import LayerOptions, analyse_layer
from globa_tui.jobs.records import layer_arrays, layer_record
from store.checkpoints import Layer
options = LayerOptions((0.90, 0.99), (0.95, 0.80))
base = 0.02 * torch.randn(16, 16)
models = [base + 0.002 * torch.randn(16, 16) for _ in range(2)]
layer = Layer(0, "weight", (16, 16), "F32", "other", None, "matrix", ("weight", "weight"), None)
spent = [0.0, 0.0]
for number in range({count} + 1):
    begun = time.process_time()
    found = analyse_layer(base, models, options)
    between = time.process_time()
    layer_record(layer, found, 0, 0.0), layer_arrays(found, 0, torch.float32)
    if number:
        spent[0] += between - begun
        spent[1] += time.process_time() - between
extra = {{"analysis": spent[0] / {count}, "numbers": spent[1] / {count}}}
"""
