"""Every method on every kind of input: made, merged, and written down as the table of docs/inputs.md.

``python -m tests.inputs.matrix`` writes the table anew; the tests compare each cell with what happens.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from analysis.merge import METHODS as REGISTRY
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.recipe import Recipe
from store.checkpoints import open_checkpoint
from store.errors import StoreError
from tests.inputs.adapters import adapter, factors, lora
from tests.inputs.tokenizers import tokenizer
from tests.inputs.vision import CONFIG, NEW, OLD, vision
from tests.jobs.family import VOCAB, family, tensors, tuned
from tests.store.make import sharded, single, with_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "inputs.md"
METHODS = ("globa", *REGISTRY)

Family = tuple[Path, list[Path]]


def _demo(folder: Path) -> Family:
    models = ROOT / "demo" / "models"
    return models / "base", [models / "math", models / "code"]


def _typed(dtype: torch.dtype) -> Callable[[Path], Family]:
    return lambda folder: family(folder, dtype=dtype)


def _adapters(folder: Path) -> Family:
    base = tensors()
    kinds = (("q_proj", "up_proj"), ("q_proj", "v_proj"))
    adapters = [lora(base, folder / f"ft{n}", kinds[n - 1], n) for n in (1, 2)]
    return single(folder / "base", base), adapters


def _tied(folder: Path) -> Family:
    base = tensors()
    models = [base, tuned(base, 1), tuned(base, 2)]
    whole = [{**model, "lm_head.weight": model["model.embed_tokens.weight"].clone()} for model in models]
    paths = [single(folder / f"m{n}", model, {"tie_word_embeddings": True}) for n, model in enumerate(whole)]
    return paths[0], paths[1:]


def _sharded(folder: Path) -> Family:
    base, fine_tuned = family(folder / "whole")
    paths = [
        sharded(folder / path.name, load_file(path / "model.safetensors"), count)
        for path, count in zip((base, *fine_tuned), (1, 2, 3), strict=True)
    ]
    return paths[0], paths[1:]


def _vocabulary(folder: Path) -> Family:
    base, fine_tuned = family(folder)
    tokens = [f"t{row}" for row in range(VOCAB)]
    tokenizer(base, tokens)
    name = "model.embed_tokens.weight"
    for number, path in enumerate(fine_tuned, 1):
        weights = load_file(path / "model.safetensors")
        more = torch.randn(number, weights[name].shape[1], generator=torch.Generator().manual_seed(number))
        save_file(weights | {name: torch.cat([weights[name], more])}, path / "model.safetensors")
        tokenizer(path, tokens, [f"<{extra}>" for extra in range(number)])
    return base, fine_tuned


def _prefixes(folder: Path) -> Family:
    base, fine_tuned = family(folder)
    for path, change in zip(fine_tuned, (lambda n: n.removeprefix("model."), lambda n: f"wrapped.{n}"), strict=True):
        weights = load_file(path / "model.safetensors")
        save_file({change(name): weight for name, weight in weights.items()}, path / "model.safetensors")
    return base, fine_tuned


def _experts(folder: Path) -> Family:
    stack = {"model.layers.0.mlp.experts.up_proj": torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(5))}
    base = tensors() | stack
    models = [base]
    for number in (1, 2):
        moved = {name: weight + 0.01 * number * weight.flip(1) for name, weight in stack.items()}
        models.append(tuned(tensors(), number) | moved)
    paths = [single(folder / f"m{n}", model) for n, model in enumerate(models)]
    return paths[0], paths[1:]


def _narrow(folder: Path) -> Family:
    base = tensors(scale=1.0)
    models = [base, *(tuned(base, number, scale=0.5) for number in (1, 2))]
    kind = torch.float8_e4m3fn
    paths = [
        single(folder / f"m{n}", {name: weight.to(kind) for name, weight in model.items()})
        for n, model in enumerate(models)
    ]
    return paths[0], paths[1:]


def _vision(folder: Path) -> Family:
    paths = [single(folder / "base", vision(*NEW), CONFIG)]
    for number, prefixes in enumerate((OLD, NEW), 1):
        generator = torch.Generator().manual_seed(number)
        model = {
            name: weight + 0.1 * torch.randn(weight.shape, generator=generator)
            for name, weight in vision(*prefixes).items()
        }
        paths.append(single(folder / f"ft{number}", model, CONFIG))
    return paths[0], paths[1:]


def _thousand(folder: Path) -> Family:
    base = tensors(blocks=1)
    models = [single(folder / f"ft{number}", tuned(base, number)) for number in (1, 2)]
    # Buffers of whole numbers fill the other files, for these are soon merged.
    base |= {f"model.buffer.{number}": torch.ones(1, dtype=torch.int32) for number in range(1000 - len(base))}
    return sharded(folder / "base", base, 1000), models


def _quantised(folder: Path) -> Family:
    base, fine_tuned = family(folder)
    weights = load_file(fine_tuned[1] / "model.safetensors")
    packed = {"model.layers.0.mlp.up_proj.qweight": torch.zeros(2, 2, dtype=torch.int32)}
    save_file(weights | packed, fine_tuned[1] / "model.safetensors")
    return base, fine_tuned


def _dora(folder: Path) -> Family:
    base, fine_tuned = family(folder)
    path = adapter(folder / "dora", {"model.layers.0.self_attn.q_proj": factors(16, 16)}, use_dora=True)
    return base, [fine_tuned[0], path]


def _wider(folder: Path) -> Family:
    base, fine_tuned = family(folder)
    weights = load_file(fine_tuned[1] / "model.safetensors")
    save_file(weights | {"model.layers.0.mlp.up_proj.weight": torch.zeros(30, 16)}, fine_tuned[1] / "model.safetensors")
    return base, fine_tuned


def _three(folder: Path) -> Family:
    return family(folder, tasks=3)


INPUTS: Mapping[str, Callable[[Path], Family]] = {
    "demo family": _demo,
    "LoRA pair": _adapters,
    "tied": _tied,
    "sharded": _sharded,
    "vocabulary differs": _vocabulary,
    "prefix differs": _prefixes,
    "experts": _experts,
    "fp16": _typed(torch.float16),
    "bf16": _typed(torch.bfloat16),
    "fp32": _typed(torch.float32),
    "fp8": _narrow,
    "vision-language": _vision,
    "1,000 shards": _thousand,
    "three fine-tunes": _three,
    "quantised": _quantised,
    "DoRA": _dora,
    "other width": _wider,
}


def outcome(method: str, kind: str, folder: Path) -> str:
    """What happens: ``works``, or ``refused:`` and the reason, without the names of the files."""
    base, fine_tuned = INPUTS[kind](folder)
    for path in (base, *fine_tuned):
        if path.is_relative_to(folder) and not (path / "config.json").exists():
            with_config(path, {})
    recipe = Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), method=method)
    try:
        result = run_merge(recipe, folder / "out", MergeOptions(check=True, device="cpu"))
    except Exception as error:
        if not (isinstance(error, StoreError) or type(error).__module__.startswith(("analysis.", "globa_tui."))):
            raise
        return f"refused: {_reason(str(error))}"
    assert result.check is not None
    assert not result.check.failed, result.check.items
    made, wanted = open_checkpoint(str(folder / "out")), open_checkpoint(str(base))
    assert {n: h.shape for n, h in made.tensors.items()} == {n: h.shape for n, h in wanted.tensors.items()}
    assert {n: h.dtype for n, h in made.tensors.items()} == {n: h.dtype for n, h in wanted.tensors.items()}
    assert any(drift.change > 0 for drift in result.drift.values()), "nothing was merged"
    return "works"


def _reason(text: str) -> str:
    """The message without the places of this run's files, and without the cure."""
    text = re.sub(r"\s*\([^()]*/[^()]*\)", "", text.partition("; ")[0])
    return re.sub(r"\S*/(?=[\w.]+)", "", text).strip()


def table(cells: Mapping[tuple[str, str], str]) -> str:
    """The table in Markdown, with the reasons of refusals as notes below it."""
    notes: dict[str, int] = {}
    lines = ["| method | " + " | ".join(INPUTS) + " |", "| --- |" + " --- |" * len(INPUTS)]
    for method in METHODS:
        row = []
        for kind in INPUTS:
            found = cells[method, kind]
            row.append("works" if found == "works" else f"refused ({notes.setdefault(found, len(notes) + 1)})")
        lines.append(f"| `{method}` | " + " | ".join(row) + " |")
    listed = [f"{number}. {reason.removeprefix('refused: ')}" for reason, number in notes.items()]
    return "\n".join([*lines, "", *listed])


def read_cells(text: str) -> dict[tuple[str, str], str]:
    """The cells of a page's table."""
    body = text.partition("<!-- matrix -->\n")[2].partition("<!-- end of matrix -->")[0]
    notes = dict(re.findall(r"^(\d+)\. (.*)$", body, re.MULTILINE))
    cells: dict[tuple[str, str], str] = {}
    for line in body.splitlines()[2:]:
        if line.startswith("|"):
            method, *row = [cell.strip() for cell in line.strip("|").split("|")]
            for kind, cell in zip(INPUTS, row, strict=True):
                number = re.search(r"\((\d+)\)", cell)
                cells[method.strip("`"), kind] = f"refused: {notes[number[1]]}" if number else cell
    return cells


def main() -> None:
    """Run every cell and write the page's table anew."""
    cells: dict[tuple[str, str], str] = {}
    for method in METHODS:
        for kind in INPUTS:
            with tempfile.TemporaryDirectory() as folder:
                cells[method, kind] = outcome(method, kind, Path(folder))
                print(method, kind, cells[method, kind], file=sys.stderr)
    before, mark, rest = PAGE.read_text().partition("<!-- matrix -->\n")
    end = rest.partition("<!-- end of matrix -->")[2]
    PAGE.write_text(f"{before}{mark}{table(cells)}\n<!-- end of matrix -->{end}")


if __name__ == "__main__":
    main()
