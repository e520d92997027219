"""The same merges by mergekit and by us, in float32: `python -m benchmarks.mergekit_parity PYTHON-WITH-MERGEKIT`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from analysis.merge.drop import keep_mask
from globa_tui import safe_yaml
from globa_tui.jobs.merge import run_merge
from globa_tui.mergekit import from_mergekit

FAMILY = Path("demo/models")
MERGES: Mapping[str, tuple[str, str]] = {
    # What stands for every model, and what for the merge.
    "linear": ("weight: {w}", "normalize: true"),
    "linear, not normalized": ("weight: {w}", "normalize: false"),
    "task_arithmetic": ("weight: {w}", "lambda: 0.9"),
    "task_arithmetic, normalized": ("weight: {w}", "normalize: true"),
    "ties": ("weight: {w}, density: {d}", "normalize: true"),
    "ties, not normalized": ("weight: {w}, density: {d}", "normalize: false, lambda: 0.7"),
    "dare_linear": ("weight: {w}, density: {d}", "rescale: true"),
    "dare_linear, not rescaled": ("weight: {w}, density: {d}", "rescale: false"),
    "dare_ties": ("weight: {w}, density: {d}", "rescale: true"),
    "slerp": ("", "t: 0.3"),
}
WEIGHTS, DENSITIES = (0.6, 0.7), (0.4, 0.55)


def config(title: str, base: Path, models: list[Path]) -> str:
    """Mergekit's YAML of one merge."""
    method = title.split(",", maxsplit=1)[0]
    own, shared = MERGES[title]
    lines = [f"merge_method: {method}", "dtype: float32", f"parameters: {{{shared}}}", "models:"]
    entries = [(base, "")] if method == "slerp" else []
    entries += [(path, own.format(w=w, d=d)) for path, w, d in zip(models, WEIGHTS, DENSITIES, strict=True)]
    lines += [f"- {{model: {path}, parameters: {{{words}}}}}" for path, words in entries[:2]]
    return "\n".join([*lines, *([f"base_model: {base}"] if method != "linear" else [])]) + "\n"


def synthetic(folder: Path) -> list[Path]:
    """A base and two models far from it, in float32, so that slerp takes the arc and no two magnitudes are equal."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: weight.shape for name, weight in load_file(FAMILY / "base" / "model.safetensors").items()}
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    paths = []
    for name, change in (("base", 0.0), ("one", 0.4), ("two", 0.6)):
        path = folder / name
        shutil.copytree(FAMILY / "base", path)
        values = {key: w + change * torch.randn(w.shape, generator=generator) for key, w in base.items()}
        save_file(values, path / "model.safetensors", {"format": "pt"})
        text = (path / "config.json").read_text().replace('"bfloat16"', '"float32"')
        (path / "config.json").write_text(text)
        paths.append(path)
    return paths


def masks(base: Path, models: list[Path], place: Path) -> str:
    """Our masks, by the bytes of the task vector that they belong to."""
    found: dict[str, torch.Tensor] = {}
    start = load_file(base / "model.safetensors")
    for number, path in enumerate(models):
        for name, weight in load_file(path / "model.safetensors").items():
            delta = weight.float() - start[name].float()
            key = hashlib.sha256(delta.contiguous().numpy().tobytes()).hexdigest()
            found[key] = keep_mask(delta.shape, DENSITIES[number], 0, name, number).to(torch.uint8)
    save_file(found, place)
    return str(place)


def compare(theirs: Path, ours: Path, sources: list[Path]) -> tuple[float, int, int]:
    """The largest difference in units in the last place of bfloat16, entries not equal in bfloat16, and all entries.

    A unit is that of the largest of the entry's sources: where these cancel, what is left is rounding, and has units
    as small as one likes.
    """
    one, other = load_file(theirs / "model.safetensors"), load_file(ours / "model.safetensors")
    assert set(one) == set(other), set(one) ^ set(other)
    models = [load_file(path / "model.safetensors") for path in sources]
    most, unequal, entries = 0.0, 0, 0
    for name, weight in other.items():
        largest = torch.stack([model[name].float().abs() for model in models]).amax(0).double().clamp(min=1e-38)
        unit = torch.exp2(torch.floor(torch.log2(largest)) - 7)
        most = max(most, float(((one[name].double() - weight.double()).abs() / unit).max()))
        unequal += int((one[name].bfloat16() != weight.bfloat16()).sum())
        entries += weight.numel()
    return most, unequal, entries


def main(python: str) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        demo = [(FAMILY / name).absolute() for name in ("base", "math", "code")]
        families = {"demo": demo, "synthetic": synthetic(folder)}
        jobs, rows = [], []
        for family, (base, *models) in families.items():
            drawn = masks(base, models, folder / f"{family}.masks")
            for title in MERGES:
                name = f"{family}-{title}".replace(", ", "-").replace(" ", "-")
                text = config(title, base, models)
                theirs, ours = folder / "theirs" / name, folder / "ours" / name
                jobs.append({"config": text, "out": str(theirs), "masks": drawn if "dare" in title else None})
                run_merge(from_mergekit(safe_yaml.load(text, title), title), ours)
                rows.append((family, title, theirs, ours))
        (folder / "jobs.json").write_text(json.dumps(jobs))
        words = [python, str(Path(__file__).with_name("mergekit_driver.py")), str(folder / "jobs.json")]
        subprocess.run(words, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        print("| models | merge | largest difference, bfloat16 ulp | entries rounded otherwise in bfloat16 |")
        print("| --- | --- | ---: | ---: |")
        for family, title, theirs, ours in rows:
            most, count, entries = compare(theirs, ours, families[family])
            print(f"| {family} | `{title}` | {most:.1e} | {count:,} of {entries:,} |")


if __name__ == "__main__":
    main(sys.argv[1])
