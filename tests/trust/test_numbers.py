"""Difficult numbers through whole commands: a defined result, or a named failure of that layer alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.records import call
from tests.store import make

Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
SIDE = 6


def random(rows: int, cols: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))


def moved(rows: int = SIDE, cols: int = SIDE, scale: float = 0.1) -> Three:
    base = random(rows, cols, 0)
    return base, base + random(rows, cols, 1, scale), base + random(rows, cols, 2, scale)


def with_entry(value: float, which: int) -> Three:
    three = moved()
    three[which][1, 2] = value
    return three


def outer(seed: int) -> torch.Tensor:
    return random(SIDE, 1, seed) @ random(1, SIDE, seed + 1)


def low_rank() -> Three:
    base = random(SIDE, SIDE, 0)
    return base, base + outer(1), base + outer(3)


def half() -> Three:
    """Differences whose squares overflow float16."""
    base, one, two = moved(scale=1.0)
    return (1000 * base).half(), (30000 * one.sign()).half(), (1000 * base + 20000 * two.sign()).half()


def mixed() -> Three:
    """Entries from 1e-30 to 1e30 in one matrix."""
    scale = torch.logspace(-30, 30, SIDE * SIDE).view(SIDE, SIDE)
    return torch.zeros(SIDE, SIDE), scale * random(SIDE, SIDE, 1).sign(), scale.flip(0)


def ill_conditioned() -> Three:
    hilbert = 1 / (torch.arange(SIDE)[:, None] + torch.arange(SIDE) + 1.0)
    return torch.zeros(SIDE, SIDE), hilbert, hilbert.flip(1)


FINE: dict[str, Callable[[], Three]] = {
    "plain": moved,
    "denormal": lambda: (torch.zeros(SIDE, SIDE), random(SIDE, SIDE, 1, 1e-41), random(SIDE, SIDE, 2, 1e-41)),
    "tiny": lambda: (torch.zeros(SIDE, SIDE), random(SIDE, SIDE, 1, 1e-30), random(SIDE, SIDE, 2, 1e-30)),
    "zero": lambda: (torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)),
    "constant": lambda: (torch.ones(SIDE, SIDE), 2 * torch.ones(SIDE, SIDE), 3 * torch.ones(SIDE, SIDE)),
    "huge": lambda: (random(SIDE, SIDE, 0, 1e30), random(SIDE, SIDE, 1, 1e30), random(SIDE, SIDE, 2, 1e30)),
    "half": half,
    "bfloat": lambda: tuple(part.bfloat16() for part in moved()),  # type: ignore[return-value,dict-item]
    "mixed": mixed,
    "ill_conditioned": ill_conditioned,
    "low_rank": low_rank,
    "identical": lambda: (moved()[0], moved()[1], moved()[1].clone()),
    "opposite": lambda: (torch.zeros(SIDE, SIDE), random(SIDE, SIDE, 1), -random(SIDE, SIDE, 1)),
    "first_unchanged": lambda: (moved()[0], moved()[0].clone(), moved()[2]),
    "second_unchanged": lambda: (moved()[0], moved()[1], moved()[0].clone()),
    "unchanged": lambda: (moved()[0], moved()[0].clone(), moved()[0].clone()),
    "row": lambda: moved(1, 9),
    "column": lambda: moved(9, 1),
    "single": lambda: moved(1, 1),
    "wide": lambda: moved(3, 40),
    "no_rows": lambda: moved(0, 5),
    "no_columns": lambda: moved(5, 0),
    "empty": lambda: moved(0, 0),
}
FAILS: dict[str, tuple[Callable[[], Three], str]] = {
    "nan_in_base": (lambda: with_entry(float("nan"), 0), "the base holds 1 NaN"),
    "nan_in_second": (lambda: with_entry(float("nan"), 2), "holds 1 NaN"),
    "infinity": (lambda: with_entry(float("inf"), 1), "holds 1 NaN or infinite"),
    "overflow": (lambda: (-3e38 * torch.ones(2, 2), 3e38 * torch.ones(2, 2), torch.ones(2, 2)), "overflows"),
}


def tensor(name: str) -> str:
    return f"model.layers.0.{name}.weight"


def write(folder: Path, cases: dict[str, Three]) -> list[str]:
    for number, model in enumerate(("base", "ft1", "ft2")):
        make.single(folder / model, {tensor(name): three[number] for name, three in cases.items()}, {})
    return [str(folder / model) for model in ("base", "ft1", "ft2")]


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("basis", ["canonical", "anchored", "lapack"])
def test_every_fine_case_has_a_result(tmp_path: Path, basis: str, precision: str) -> None:
    sources = write(tmp_path, {name: build() for name, build in FINE.items()})
    run, words = str(tmp_path / "r.globa"), ["--basis", basis, "--precision", precision, "--quiet"]
    found = call("analyze", *sources, "--store", run, *words)
    shown = json.loads(call("show", run, "--json").out)["layers"]
    failed = {layer["name"]: layer["error"] for layer in shown if layer["status"] != "done"}
    assert set(failed.values()) <= {None}  # a matrix without entries is skipped
    assert found.code == 0, found.err
    ranks = {layer["name"].split(".")[3]: layer["rank"] for layer in shown}
    for name in ("zero", "unchanged"):
        assert ranks[name] == [0, 0], name
    assert ranks["first_unchanged"][0] == ranks["second_unchanged"][1] == 0
    assert ranks["low_rank"] == ranks["constant"] == ranks["row"] == ranks["column"] == [1, 1]
    out = tmp_path / "out"
    merged = call("merge", run, "-o", str(out), "--quiet", "--preset", "all", "--dtype", "float32")
    assert merged.code == 0, merged.err
    weights = load_file(out / "model.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in weights.values())
    for name in ("zero", "unchanged", "no_rows"):
        assert torch.equal(weights[tensor(name)], FINE[name]()[0]), name


def test_a_layer_that_cannot_be_analysed_fails_alone_and_by_name(tmp_path: Path) -> None:
    sources = write(
        tmp_path, {"a_first": moved(), **{name: build() for name, (build, _) in FAILS.items()}, "z_last": moved()}
    )
    run = str(tmp_path / "r.globa")
    found = call("analyze", *sources, "--store", run, "--quiet")
    assert found.code == 1
    assert found.err.splitlines()[-1].startswith(f"globa-tui: {len(FAILS)} layers failed: ")
    layers = {layer["name"].split(".")[3]: layer for layer in json.loads(call("show", run, "--json").out)["layers"]}
    assert [name for name, layer in layers.items() if layer["status"] == "done"] == ["a_first", "z_last"]
    for name, (_, reason) in FAILS.items():
        assert layers[name]["status"] == "failed"
        assert layers[name]["error"].startswith(tensor(name))
        assert reason in layers[name]["error"]
    refused = call("merge", run, "-o", str(tmp_path / "out"), "--quiet")
    assert refused.code == 4
    assert "--allow-failed" in refused.err
    assert not (tmp_path / "out").exists()
    passed = call("merge", run, "-o", str(tmp_path / "out"), "--quiet", "--allow-failed")
    assert (tmp_path / "out" / "model.safetensors").exists(), passed.err
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert bool(weights[tensor("a_first")].isfinite().all())
    assert sum(bool(weight.isnan().any()) for weight in weights.values()) >= 2


SOLVERS = ["eigh", "svd", "svdvals", "eigvalsh", "qr", "cholesky", "cholesky_ex", "solve_triangular"]


@pytest.mark.parametrize("names", [*([name] for name in SOLVERS), ["eigh", "eigvalsh"], SOLVERS])
def test_a_decomposition_that_does_not_converge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Another one takes over and the record says so, or the layer fails by name; the job goes on to the end."""

    def fails(*_: object, **__: object) -> None:
        msg = "the algorithm failed to converge"
        raise torch.linalg.LinAlgError(msg)  # type: ignore[attr-defined]

    sources = write(tmp_path, {"a": moved(8, 12), "b": moved(12, 8), "c": low_rank()})
    for name in names:
        monkeypatch.setattr(torch.linalg, name, fails)
    run = str(tmp_path / "r.globa")
    found = call("analyze", *sources, "--store", run, "--quiet")
    layers = json.loads(call("show", run, "--json").out)["layers"]
    assert {layer["status"] for layer in layers} <= {"done", "failed"}, found.err
    assert found.code == (1 if any(layer["status"] == "failed" for layer in layers) else 0)
    for layer in layers:
        if layer["status"] == "failed":
            assert layer["error"].startswith(layer["name"])
            assert "converge" in layer["error"]
        elif names[0] == "eigh":
            assert set(layer["decomposition"]) == {"svd"}, layer["decomposition"]
