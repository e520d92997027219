"""Files from strangers, changed in every way: a result or one clear line, and nothing outside the named folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.cli.records import call
from tests.store import make
from tests.trust import mutate
from tests.trust.scale import SOAK, note, rounds
from tests.trust.watch import judged

pytestmark = [
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux"),
    pytest.mark.timeout(3000),
    pytest.mark.xdist_group("hostile"),
]

some = settings(
    max_examples=rounds(25, 640),
    deadline=None,
    derandomize=not SOAK,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

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


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    return Kitchen(tmp_path_factory.mktemp("hostile"))


def changes(kitchen: Kitchen, data: st.DataObject, path: Path) -> bytes:
    """A changed content for a file, by its kind."""
    if path.suffix == ".safetensors":
        strategy = mutate.of_safetensors(path.read_bytes())
    elif path.suffix == ".json":
        strategy = mutate.of_json(json.loads(path.read_text()))
    elif path.suffix == ".h5":
        strategy = mutate.of_bytes(path.read_bytes())
    else:
        strategy = mutate.of_text(path.read_text())
    return data.draw(strategy)


SOURCES = [
    ("base", "model.safetensors"),
    ("base", "config.json"),
    ("base", "tokenizer.json"),
    ("base", "tokenizer_config.json"),
    ("ft1", "model.safetensors"),
    ("shards", "model.safetensors.index.json"),
    ("shards", "model-00001-of-00002.safetensors"),
    ("adapter", "adapter_config.json"),
    ("adapter", "adapter_model.safetensors"),
]


@pytest.mark.parametrize(("model", "file"), SOURCES)
def test_a_changed_checkpoint(kitchen: Kitchen, model: str, file: str) -> None:
    @some
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        changed = kitchen.copy(kitchen.folder / model)
        (changed / file).write_bytes(changes(kitchen, data, kitchen.folder / model / file))
        sources = [changed, kitchen.tuned] if model == "base" else [kitchen.base, changed]
        kitchen.merge(*sources)
        note("merge", f"changed {file}", "a result, or one line")

    check()


RUN_FILES = ["run.json", "summary.jsonl", "jobs/analyze.json", "layers"]


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_changed_run(kitchen: Kitchen, name: str) -> None:
    path = kitchen.run / name if name != "layers" else sorted((kitchen.run / "layers").iterdir())[0]

    @some
    @given(
        data=st.data(),
        words=st.sampled_from([["show"], ["show", "--json"], ["show", "--csv"], ["status"], ["pack"], ["merge"]]),
    )
    def check(data: st.DataObject, words: list[str]) -> None:
        run = kitchen.copy(kitchen.run)
        (run / path.relative_to(kitchen.run)).write_bytes(changes(kitchen, data, path))
        read_with(kitchen, run, words)
        note(words[0], f"changed {name} of a run", "a result, or one line")

    check()


def test_a_changed_packed_file(kitchen: Kitchen) -> None:
    @some
    @given(data=st.data(), words=st.sampled_from([["show"], ["show", "--json"], ["status"], ["merge"]]))
    def check(data: st.DataObject, words: list[str]) -> None:
        run = kitchen.copy(kitchen.packed)
        run.write_bytes(changes(kitchen, data, kitchen.packed))
        read_with(kitchen, run, words)
        note(words[0], "changed packed file", "a result, or one line")

    check()


def read_with(kitchen: Kitchen, run: Path, words: list[str]) -> None:
    if words == ["merge"]:
        kitchen.merge(run, codes=frozenset({0, 1, 2, 3, 4}))
        return
    out = kitchen.folder / "changed" / "packed-again.h5"
    more = [out, "--quiet"] if words == ["pack"] else []
    result = judged({0, 1, 4}, words[0], run, *words[1:], *more, folders=(kitchen.folder,))
    if "--json" in words and result.code == 0:
        json.loads(result.out)
    if more:
        assert out.exists() == (result.code == 0)


OURS = """run: {run}
method: globa
coefficients: {{C1: 1.0, A: 0.5, D-: 1.0}}
overrides:
- target: mlp
  coefficients: {{A: 0.25}}
skip_weights: [0.5, 0.5]
dtype: bfloat16
shard_size: 5GB
"""
MERGEKIT = """merge_method: task_arithmetic
base_model: {base}
models:
  - model: {ft1}
    parameters:
      weight: 0.5
  - model: {ft2}
    parameters:
      weight: 0.25
parameters:
  normalize: false
  lambda: 1.0
dtype: float32
"""


@pytest.mark.parametrize("kind", ["ours", "mergekit"])
def test_a_changed_recipe(kitchen: Kitchen, kind: str) -> None:
    names = {"run": kitchen.run, "base": kitchen.base, "ft1": kitchen.tuned, "ft2": kitchen.other}
    text = (OURS if kind == "ours" else MERGEKIT).format(**names)
    recipe = kitchen.folder / "recipe.yaml"
    recipe.write_text(text)
    kitchen.merge(recipe, codes=frozenset({0}))

    @some
    @given(content=mutate.of_text(text))
    def check(content: bytes) -> None:
        # A recipe names its sources: a changed path is another source, which is not what is tried here.
        if any(content.count(str(place).encode()) < 1 for place in names.values() if str(place) in text):
            return
        recipe.write_bytes(content)
        kitchen.merge(recipe, codes=frozenset({0, 1, 2, 3, 4}))
        note("merge", f"changed recipe ({kind})", "a result, or one line")

    check()
