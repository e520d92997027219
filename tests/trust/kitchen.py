"""Whole files of every kind, to be changed by tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.cli.records import call
from tests.store import make
from tests.trust.watch import judged

SHAPES = {
    "model.embed_tokens.weight": (6, 4),
    "model.layers.0.self_attn.q_proj.weight": (4, 4),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.norm.weight": (4,),
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "torch_dtype": "float32",
    "tie_word_embeddings": False,
    "vocab_size": 6,
    "rope_scaling": {"type": "linear", "factor": 2.0},
}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [{"id": 5, "content": "<s>", "special": True}],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}, "merges": []},
}
ADAPTER = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "up_proj"],
    "rank_pattern": {},
    "alpha_pattern": {"q_proj": 8},
    "use_rslora": False,
    "fan_in_fan_out": False,
    "base_model_name_or_path": "base",
}


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


class Kitchen:
    """Whole files of every kind, to be changed one at a time, and a fresh folder for each change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = make.single(folder / "base", tensors(0), CONFIG)
        (self.base / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (self.base / "tokenizer_config.json").write_text("{}")
        self.tuned = make.single(folder / "ft1", tensors(1), CONFIG)
        self.other = make.single(folder / "ft2", tensors(2), CONFIG)
        make.sharded(folder / "shards", tensors(3), 2)
        self._adapter()
        self.run = folder / "run.globa"
        assert call("analyze", *self.sources, "--store", str(self.run), "--quiet").code == 0
        self.packed = folder / "packed.h5"
        assert call("pack", str(self.run), str(self.packed), "--quiet").code == 0
        # What is imported late would count as memory of the first command that is watched.
        for words in (["--method", "linear"], []):
            out = str(folder / "warm")
            sources = self.sources if words else [str(self.run)]
            assert call("merge", *sources, "-o", out, "--quiet", "--overwrite", *words).code == 0

    @property
    def sources(self) -> list[str]:
        return [str(self.base), str(self.tuned), str(self.other)]

    def _adapter(self) -> None:
        self.adapter = self.folder / "adapter"
        self.adapter.mkdir()
        factors = {}
        for name, (rows, cols) in (("self_attn.q_proj", (4, 4)), ("mlp.up_proj", (6, 4))):
            head = f"base_model.model.model.layers.0.{name}"
            factors |= {f"{head}.lora_A.weight": torch.ones(2, cols), f"{head}.lora_B.weight": torch.ones(rows, 2)}
        save_file(factors, self.adapter / "adapter_model.safetensors")
        (self.adapter / "adapter_config.json").write_text(json.dumps(ADAPTER))

    def copy(self, source: Path) -> Path:
        """A copy to be changed, under a name of its own."""
        target = self.folder / "changed" / source.name
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
        return target

    def merge(self, *sources: object, codes: frozenset[int] = frozenset({0, 1, 2, 3})) -> None:
        """Merge: a whole result or none, and nothing beside it."""
        out = self.folder / "out" / "merged"
        shutil.rmtree(out.parent, ignore_errors=True)
        out.parent.mkdir()
        words = ["merge", *sources, "-o", out, "--quiet"]
        words += ["--method", "linear"] if len(sources) > 1 else []
        result = judged(set(codes), *words, folders=(self.folder,))
        left = sorted(path.name for path in out.parent.iterdir())
        whole = result.code == 0 or "check failed" in result.err
        assert left == (["merged"] if whole else []), (left, result)
        if result.code == 0:
            assert (
                "model.safetensors" in {path.name for path in out.iterdir()}
                or (out / "model.safetensors.index.json").exists()
            )
