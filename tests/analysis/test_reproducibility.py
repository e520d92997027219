"""The same input gives the same answer: under perturbation, and on another number of threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from analysis.layer import LayerAnalysis, LayerOptions, analyse_layer
from analysis.merge.globa import PATTERNS, weighted_core
from tests.analysis.matrices import PAIRS, decaying, gaussian, perturbed, with_spectrum

README = {"C1": 1.0, "A": 0.0, "B": 0.0, "C": 0.0, "D+": 0.0, "D-": 1.0, "E": 1.0}
LARGE = {
    "random": lambda: (gaussian(128, 256, 1), gaussian(128, 256, 2)),
    "decaying": lambda: (with_spectrum(128, 200, decaying(128), 3), with_spectrum(128, 200, decaying(128), 4)),
    "clustered": PAIRS["clustered"],
    "low-rank": PAIRS["low-rank"],
}


def analyse(taus: tuple[torch.Tensor, ...], dtype: torch.dtype, basis: str = "canonical") -> LayerAnalysis:
    chosen = LayerOptions((0.90, 0.99), (0.95, 0.80), dtype=dtype, basis=basis)
    return analyse_layer(torch.zeros_like(taus[0]), list(taus), chosen)


def deltas(result: LayerAnalysis) -> dict[str, torch.Tensor]:
    wanted = {name: {other: float(other == name) for other in PATTERNS} for name in PATTERNS}
    wanted["README"] = README
    left, right = result.left.vectors.double(), result.right.vectors.double()
    return {name: left @ weighted_core(result.pruned, 0, alpha) @ right.T for name, alpha in wanted.items()}


def movement(taus: tuple[torch.Tensor, ...], size: float, dtype: torch.dtype, basis: str) -> dict[str, float]:
    """How far every part moves, relative to its norm, when the input is perturbed."""
    moved = tuple(perturbed(tau, size, seed) for seed, tau in enumerate(taus, 50))
    before, after = (deltas(analyse(pair, dtype, basis)) for pair in (taus, moved))
    return {
        name: float((after[name] - delta).norm() / delta.norm())
        for name, delta in before.items()
        if float(delta.norm())
    }


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("basis", ["canonical", "anchored"])
def test_float64_holds_under_a_perturbation_of_1e_12(name, basis):
    assert max(movement(LARGE[name](), 1e-12, torch.float64, basis).values()) <= 1e-6


@pytest.mark.parametrize("name", ["random", "decaying", "clustered"])
def test_the_lapack_basis_does_not_hold(name):
    assert max(movement(LARGE[name](), 1e-12, torch.float64, "lapack").values()) >= 0.1


@pytest.mark.parametrize("name", LARGE)
def test_float32_holds_under_a_perturbation_of_1e_7(name):
    assert max(movement(LARGE[name](), 1e-7, torch.float32, "canonical").values()) <= 1e-2


@pytest.mark.parametrize("name", LARGE)
def test_types_of_the_energy_are_stable_in_float32(name):
    taus = LARGE[name]()
    moved = tuple(perturbed(tau, 1e-7, seed) for seed, tau in enumerate(taus, 70))
    energies = [{p.pattern: p.energy for p in analyse(pair, torch.float32).parts.components} for pair in (taus, moved)]
    changed = sum(abs(energies[0][kind] - energies[1][kind]) for kind in PATTERNS[1:]) / 2
    assert changed <= 0.005 * sum(energies[0][kind] for kind in PATTERNS[1:])


THREADS = """
import json, sys, torch
torch.set_num_threads(int(sys.argv[1]))
from tests.analysis.test_reproducibility import LARGE, analyse, deltas
found = {}
for name in ("random", "decaying"):
    taus = LARGE[name]()
    for dtype in (torch.float32, torch.float64):
        result = deltas(analyse(taus, dtype))
        found[f"{name} {dtype}"] = {key: delta.flatten()[::37].tolist() for key, delta in result.items()}
print(json.dumps(found))
"""


def test_one_and_two_threads_agree():
    root = Path(__file__).parents[2]
    found = []
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", THREADS, threads],
            capture_output=True, text=True, check=True, cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    for case, parts in found[0].items():
        allowed = 1e-6 if "float64" in case else 1e-2
        for name, values in parts.items():
            one, two = torch.tensor(values), torch.tensor(found[1][case][name])
            assert float((one - two).norm()) <= allowed * float(one.norm()), (case, name)
