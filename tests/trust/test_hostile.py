"""Files from strangers, changed in every way: a result or one clear line, and nothing outside the named folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.trust import mutate
from tests.trust.kitchen import Kitchen
from tests.trust.scale import SOAK, note, rounds
from tests.trust.watch import judged

pytestmark = [
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux"),
    pytest.mark.timeout(3000),
    pytest.mark.xdist_group("hostile"),
]

some = settings(
    max_examples=rounds(12, 640),
    deadline=None,
    derandomize=not SOAK,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def changes(kitchen: Kitchen, data: st.DataObject, path: Path) -> bytes:
    """A changed content for a file, by its kind."""
    if path.suffix == ".safetensors":
        strategy = mutate.of_safetensors(path.read_bytes())
    elif path.suffix == ".json":
        strategy = mutate.of_json(json.loads(path.read_text()))
    elif path.suffix == ".h5":
        strategy = mutate.of_hdf5(path.read_bytes())
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


PACKED = {"of this format": None, "of format 2": Path(__file__).parents[1] / "data" / "stores" / "v2.h5"}


@pytest.mark.parametrize("which", PACKED)
def test_a_changed_packed_file(kitchen: Kitchen, which: str) -> None:
    """Attributes of format 2 lie in heaps, which HDF5 itself walks through without an end."""
    packed = PACKED[which] or kitchen.packed
    commands = [["show"], ["show", "--json"], ["status"], ["pack"], ["merge"]]

    @some
    @given(data=st.data(), words=st.sampled_from(commands))
    def check(data: st.DataObject, words: list[str]) -> None:
        run = kitchen.copy(packed)
        run.write_bytes(changes(kitchen, data, packed))
        read_with(kitchen, run, words)
        note(words[0], "changed packed file", "a result, or one line")

    check()


def read_with(kitchen: Kitchen, run: Path, words: list[str]) -> None:
    if words == ["merge"]:
        kitchen.merge(run, codes=frozenset({0, 1, 2, 3, 4}))
        return
    out = kitchen.folder / "changed" / "packed-again.h5"
    more = [out, "--incomplete", "--quiet"] if words == ["pack"] else []
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
