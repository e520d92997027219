"""The traps that mergekit falls into (PEERS §1d), each a test that we do not. Numbers are those of the list.

The first two are in tests/inputs/test_vocabulary.py, the twelfth, files that are left behind, is in test_card.py.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.errors import NotFiniteError
from analysis.merge import METHODS, TensorContext, merge_method
from analysis.merge.triplets import leading_triplets
from globa_tui import safe_yaml
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.settings import EngineChoice
from globa_tui.mergekit import from_mergekit
from globa_tui.recipe import Recipe, RecipeError
from tests.jobs.family import family, tensors, tuned
from tests.store.make import single


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def sources(folder: Path, tasks: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    base, fine_tuned = family(folder, tasks=tasks, dtype=dtype)
    return {"base": str(base), "fine_tuned": tuple(map(str, fine_tuned))}


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "dare_linear"])
def test_trap_3_coefficients_and_arithmetic_are_not_bfloat16(tmp_path, method):
    """0.3 stays 0.3, not 0.30078125: the result is that of float64, rounded to bfloat16 once."""
    asked = sources(tmp_path, dtype=torch.bfloat16)
    params: dict[str, Any] = {"weight": [0.3, 0.6], "variant": "mergekit"}
    run_merge(Recipe(**asked, method=method, params=params), tmp_path / "out")
    base, one, two, merged = (weights(tmp_path / name) for name in ("base", "ft1", "ft2", "out"))
    different = 0
    for name, start in base.items():
        first, second = one[name].double() - start.double(), two[name].double() - start.double()
        if method == "linear":
            wanted = start.double() + (0.3 * first + 0.6 * second) / 0.9
            in_bfloat16 = start + (0.3 * (one[name] - start) + 0.6 * (two[name] - start)) / 0.9
        else:
            wanted = start.double() + 0.3 * first + 0.6 * second
            in_bfloat16 = start + torch.tensor(0.3).bfloat16() * (one[name] - start) + 0.6 * (two[name] - start)
        units = (merged[name].view(torch.int16).int() - wanted.bfloat16().view(torch.int16).int()).abs()
        assert int((units > 0).sum()) <= 1, "float32 rounds as float64 but where that lies on the edge"
        different += int((in_bfloat16 != wanted.bfloat16()).sum())
    assert different > 50, "bfloat16 arithmetic would have shown"


def test_trap_4_a_gradient_ends_with_the_last_block_also_in_the_head(tmp_path):
    """`[1, 0]` with the first model at 1: the head and the last norm follow the last block, not the first value."""
    base = tensors() | {"lm_head.weight": torch.randn(32, 16, generator=torch.Generator().manual_seed(5))}
    models = [base, *({name: w + n for name, w in base.items()} for n in (1, 2))]
    paths = [str(single(tmp_path / f"m{n}", model)) for n, model in enumerate(models)]
    text = f"""
merge_method: linear
base_model: {paths[0]}
models:
  - {{model: {paths[1]}, parameters: {{weight: [1, 0]}}}}
  - {{model: {paths[2]}, parameters: {{weight: [0, 1]}}}}
"""
    run_merge(from_mergekit(safe_yaml.load(text)), tmp_path / "out")
    for name, weight in weights(tmp_path / "out").items():
        first = "layers.0." in name or "embed" in name
        torch.testing.assert_close(weight, models[1 if first else 2][name], msg=name)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_trap_5_nan_in_a_source_is_refused_by_name(tmp_path, method, value):
    base = tensors()
    broken = tuned(base, 2)
    broken["model.norm.weight"][3] = float(value)
    paths = [str(single(tmp_path / n, w)) for n, w in (("base", base), ("ft1", tuned(base, 1)), ("ft2", broken))]
    with pytest.raises(NotFiniteError, match=r"ft2: tensor model.norm.weight holds 1 NaN or infinite entries of 16"):
        run_merge(Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method=method), tmp_path / "out")
    assert not (tmp_path / "out").exists()


RUN = """
import sys, torch
from pathlib import Path
from analysis.merge.triplets import leading_triplets
from globa_tui import safe_yaml
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.settings import EngineChoice
from globa_tui.recipe import Recipe
torch.set_num_threads(int(sys.argv[1]))
run_merge(Recipe.read(Path(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_trap_8_dare_is_seeded_whatever_the_process_threads_and_order(tmp_path, method):
    asked = sources(tmp_path)
    recipe = Recipe(**asked, method=method, params={"density": 0.5})
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    digests = set()
    for run, threads in enumerate((1, 2)):
        out = tmp_path / f"out{run}"
        environment = {**os.environ, "PYTHONHASHSEED": str(run), "OMP_NUM_THREADS": str(threads)}
        words = [sys.executable, "-c", RUN, str(threads), str(tmp_path / "r.yaml"), str(out)]
        subprocess.run(words, check=True, env=environment)
        digests.add(hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest())
    torch.manual_seed(12345)
    run_merge(recipe, tmp_path / "here")
    digests.add(hashlib.sha256((tmp_path / "here" / "model.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1
    backwards = {name: weight for name, weight in reversed(weights(tmp_path / "base").items())}
    other = {**asked, "base": str(single(tmp_path / "backwards", backwards))}
    run_merge(Recipe(**other, method=method, params={"density": 0.5}), tmp_path / "turned")
    run_merge(Recipe(**asked, method=method, params={"density": 0.5, "seed": 1}), tmp_path / "seeded")
    here, turned, seeded = (weights(tmp_path / name) for name in ("here", "turned", "seeded"))
    assert all(torch.equal(weight, turned[name]) for name, weight in here.items())
    assert not all(torch.equal(weight, seeded[name]) for name, weight in here.items())


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties"])
@pytest.mark.parametrize("trim", ["global", "tensor"])
def test_trap_11_a_density_that_keeps_next_to_nothing_still_merges(tmp_path, method, trim):
    """A tensor on its own keeps one entry at least; of a whole model's trim, a small one may keep none."""
    asked = sources(tmp_path)
    density = {"dare_linear": "density", "dare_ties": "trim_density"}.get(method, "density")
    params: dict[str, Any] = {density: 1e-4} | ({} if method == "dare_linear" else {"trim": trim})
    run_merge(Recipe(**asked, method=method, params=params), tmp_path / "out")
    base, merged = weights(tmp_path / "base"), weights(tmp_path / "out")
    changed = {name: int((weight != base[name]).sum()) for name, weight in merged.items()}
    if trim == "tensor" and method != "dare_linear":
        assert set(changed.values()) <= {1, 2}
        assert changed["model.norm.weight"]
    else:
        assert sum(changed.values()) <= 4


@pytest.mark.parametrize("method", [name for name in METHODS if name != "slerp"])
def test_trap_13_a_weight_of_0_is_0(tmp_path, method):
    """A model of weight 0 is as good as absent, and 0 is not taken for "not given"."""
    asked = sources(tmp_path, tasks=3)
    params = {"density": 1.0} if "dare" in method else {}
    run_merge(Recipe(**asked, method=method, params={**params, "weight": [1.0, 2.0, 0.0]}), tmp_path / "zero")
    without = {**asked, "fine_tuned": asked["fine_tuned"][:2]}
    run_merge(Recipe(**without, method=method, params={**params, "weight": [1.0, 2.0]}), tmp_path / "absent")
    run_merge(Recipe(**asked, method=method, params={**params, "weight": [1.0, 2.0, 1.0]}), tmp_path / "one")
    zero, absent, one = (weights(tmp_path / name) for name in ("zero", "absent", "one"))
    for name, weight in zero.items():
        torch.testing.assert_close(weight, absent[name], rtol=1e-5, atol=1e-7, msg=name)
    assert not all(torch.equal(weight, one[name]) for name, weight in zero.items())


class _Devices(TorchDispatchMode):
    """Notes every move of values to another device, and every way out of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("device") is not None and "copy" in str(func):
            self.moves.append(str(func))
        return func(*args, **kwargs)


@pytest.mark.parametrize("angle", ["close", "far"])
def test_trap_15_slerp_stays_on_its_device_and_in_its_dtype(monkeypatch, angle):
    """No tensor goes through NumPy or to the CPU; float64 stays float64."""

    def left_torch(*_: object, **__: object) -> None:
        raise AssertionError

    base = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 1e-3 if angle == "close" else 3.0
    taus = [step * torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in (1, 2)]
    monkeypatch.setattr(torch.Tensor, "numpy", left_torch)
    monkeypatch.setattr(torch.Tensor, "cpu", left_torch)
    with _Devices() as devices:
        found = merge_method("slerp").merge(taus, {"t": 0.25}, TensorContext("t", "matrix", base))
    assert devices.moves == []
    assert found.dtype == torch.float64


def test_trap_6_merging_again_into_a_folder_leaves_no_stale_shards(tmp_path):
    asked = sources(tmp_path)
    run_merge(Recipe(**asked, method="linear", shard_size=2000), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    run_merge(Recipe(**asked, method="linear"), tmp_path / "out", MergeOptions(overwrite=True))
    left = [path.name for path in (tmp_path / "out").iterdir() if ".safetensors" in path.name]
    assert left == ["model.safetensors"]


def test_trap_7_config_and_tokenizer_are_those_of_the_first_model_without_a_base(tmp_path):
    asked = sources(tmp_path)
    for order in (asked["fine_tuned"], asked["fine_tuned"][::-1]):
        models = [{"model": name, "parameters": {"weight": 0.5}} for name in order]
        recipe = from_mergekit({"merge_method": "linear", "models": models, "dtype": "float32"})
        for number, name in enumerate(order):
            (Path(name) / "generation_config.json").write_text(f'{{"top_k": {number + 1}}}')
        out = tmp_path / Path(order[0]).name / "out"
        run_merge(recipe, out)
        assert (out / "generation_config.json").read_text() == '{"top_k": 1}'


def test_trap_9_a_relative_path_with_one_slash_asks_no_network(tmp_path, monkeypatch):
    def refuse(*args: Any, **kwargs: Any) -> None:
        msg = "the network was asked"
        raise AssertionError(msg)

    family(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    recipe = Recipe(base="models/base", fine_tuned=("models/ft1", "models/ft2"), method="linear")
    run_merge(recipe, tmp_path / "out", MergeOptions(check=True))
    assert "fine-tune 2" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("threads", [1, 2])
def test_trap_10_the_number_of_threads_arrives(tmp_path, monkeypatch, threads):
    found = set()

    def noting(matrix: torch.Tensor, *rest: Any, **more: Any) -> Any:
        found.add(torch.get_num_threads())
        return leading_triplets(matrix, *rest, **more)

    monkeypatch.setattr("analysis.merge.iso_c.leading_triplets", noting)
    options = MergeOptions(device="cpu", engine=EngineChoice(threads=threads))
    run_merge(Recipe(**sources(tmp_path), method="iso_c"), tmp_path / "out", options)
    assert found == {threads}


def test_trap_10_a_setting_that_nobody_reads_is_an_error():
    with pytest.raises(RecipeError, match="write_threads"):
        Recipe.from_dict({"base": "b", "fine_tuned": ["x", "y"], "write_threads": 4})


def test_trap_14_mergekit_is_no_dependency():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]
    assert not [one for one in (*project["dependencies"], *extras) if one.startswith("mergekit")]
