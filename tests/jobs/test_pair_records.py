"""What the store keeps of fine-tunes compared two by two."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from store.run import Run
from tests.jobs.family import family

SETTINGS = AnalysisSettings(include=("layers.1.*(up|down|q)_proj",))


def analysed(folder: Path, tasks: int, **settings: object) -> Run:
    base, fine_tuned = family(folder, tasks=tasks)
    store = folder / "run.globa"
    run_analysis(AnalysisRequest(str(base), tuple(map(str, fine_tuned)), store, replace(SETTINGS, **settings)))
    return Run.open(store)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return analysed(tmp_path_factory.mktemp("three"), 3, pairs="all", anchor=2)


def done(run: Run) -> list[dict]:
    return [dict(record) for record in run.records() if record["status"] == "done"]


def test_every_ordered_pair_has_its_numbers_and_arrays(three: Run) -> None:
    """The anchor's come first; what holds in both directions is the same in both."""
    for record in done(three):
        pairs = {(pair["anchor"], pair["task"]): pair for pair in record["pairs"]}
        assert list(pairs)[:2] == [(2, 1), (2, 3)]
        assert set(pairs) == set(permutations((1, 2, 3), 2))
        for (one, two), pair in pairs.items():
            back = pairs[two, one]
            assert pair["orthogonality"] == pytest.approx(back["orthogonality"])
            assert pair["conflict"]["cosine"] == pytest.approx(back["conflict"]["cosine"])
            assert sum(pair["inner"].values()) == pytest.approx(sum(back["inner"].values()))
            assert sum(pair["blocks"].values()) == pytest.approx(1.0)
            prefix, suffix = ("", f"/{two}") if one == 2 else (f"against/{one}/", f"/{two}")
            arrays = three.arrays(record["index"], [f"{prefix}{name}{suffix}" for name in ("what_if", "type_map")])
            assert arrays[f"{prefix}what_if{suffix}"].shape == (2, 5, 5, 7)


def test_the_top_level_takes_the_pairs_with_the_anchor_together(three: Run) -> None:
    for record in done(three):
        mine = [pair for pair in record["pairs"] if pair["anchor"] == 2]
        assert record["patterns"]["E"]["count"] == sum(pair["patterns"]["E"]["count"] for pair in mine)
        assert record["blocks"]["none"] == pytest.approx(np.mean([pair["blocks"]["none"] for pair in mine]))
        sums = record["conflict"]["sums"]
        assert sums["entries"] == 2 * record["shape"][0] * record["shape"][1]


def test_the_store_says_which_grid_and_the_grid_holds_the_patterns(three: Run) -> None:
    for record in done(three):
        grids = record["what_if"]["eta"]
        assert grids == [[0.7, 0.8, 0.9, 0.95, 0.99], [0.7, 0.8, 0.9, 0.95, 0.99], [0.7, 0.8, 0.9, 0.95, 0.99]]
        for pair in record["pairs"][:2]:
            counts, energies = three.arrays(record["index"], [f"what_if/{pair['task']}"])[f"what_if/{pair['task']}"]
            own = grids[1].index(0.8), grids[pair["task"] - 1].index(0.95 if pair["task"] == 1 else 0.8)
            wanted = pair["patterns"].values()
            assert counts[own].tolist() == [cell["count"] for cell in wanted]
            assert energies[own].tolist() == pytest.approx([cell["energy"] for cell in wanted])
