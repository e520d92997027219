"""The effect estimate against merged updates that are really added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from globa_tui.coefficients import PATTERNS
from globa_tui.effect import EffectTable, as_array
from globa_tui.presets import merge_preset
from tests.tui.fake_run import layers, record

Parts = dict[tuple[str, int], np.ndarray[Any, Any]]


def made_up_layer(seed: int, tasks: int, anchor: int) -> tuple[Parts, list[np.ndarray[Any, Any]], dict[str, Any]]:
    """Parts and task vectors of one layer, and the scalars that an analysis would store of them."""
    rng = np.random.default_rng(seed)
    others = [task for task in range(1, tasks + 1) if task != anchor]
    keys = [("C1", anchor), *((name, task) for task in others for name in PATTERNS[1:])]
    parts = {key: rng.normal(size=(6, 9)) for key in keys}
    vectors = [rng.normal(size=(6, 9)) + sum(part for (_, t), part in parts.items() if t == task + 1)
               for task in range(tasks)]  # fmt: skip
    labels = [name if tasks == 2 or name == "C1" else f"{name}@{task}" for name, task in keys]
    flat = np.stack([part.ravel() for part in parts.values()])
    effect = {
        "labels": labels,
        "gram": (flat @ flat.T).tolist(),
        "cross": (flat @ np.stack([vector.ravel() for vector in vectors]).T).tolist(),
        "task_energy": [float((vector**2).sum()) for vector in vectors],
    }
    return parts, vectors, {"status": "done", "effect": effect}


@pytest.mark.parametrize(("tasks", "anchor"), [(2, 1), (2, 2), (3, 1), (4, 3)])
def test_estimate_is_what_a_merge_gives(tasks: int, anchor: int) -> None:
    made = [made_up_layer(seed, tasks, anchor) for seed in range(3)]
    table = EffectTable.from_records([stored for _, _, stored in made], tasks, anchor)
    rng = np.random.default_rng(7)
    for coefficients in (rng.normal(size=(3, 7)), np.ones((3, 7))):
        merged = [
            sum(row[PATTERNS.index(name)] * part for (name, _), part in parts.items())
            for row, (parts, _, _) in zip(coefficients, made, strict=True)
        ]
        effect = table.estimate(coefficients)
        whole = np.concatenate([delta.ravel() for delta in merged])
        for task in range(tasks):
            vector = np.concatenate([vectors[task].ravel() for _, vectors, _ in made])
            cosine = whole @ vector / np.linalg.norm(whole) / np.linalg.norm(vector)
            own = [
                sum(row[PATTERNS.index(name)] * part for (name, t), part in parts.items() if t == task + 1)
                for row, (parts, _, _) in zip(coefficients, made, strict=True)
            ]
            kept = sum((part**2).sum() for part in own) / (vector**2).sum()
            assert effect.cosine[task] == pytest.approx(cosine, rel=1e-12)
            assert effect.kept[task] == pytest.approx(kept, rel=1e-12)
        first = np.concatenate([vectors[0].ravel() for _, vectors, _ in made])
        assert effect.update_norm == pytest.approx(np.linalg.norm(whole) / np.linalg.norm(first), rel=1e-12)
        assert effect.layers == 3


def test_one_coefficient_set_serves_all_layers_and_only_restricts() -> None:
    made = [made_up_layer(seed, 2, 1)[2] for seed in range(4)]
    table = EffectTable.from_records(made, 2)
    choice = as_array(merge_preset("readme").coefficients)
    alike, apart = table.estimate(choice), table.estimate(np.tile(choice, (4, 1)))
    for name in ("update_norm", "kept", "cosine"):
        assert getattr(alike, name) == pytest.approx(getattr(apart, name), rel=1e-12)
    alone = EffectTable.from_records([made[2]], 2).estimate(choice)
    assert table.estimate(choice, only=[2]) == alone


def test_all_coefficients_zero_move_nothing() -> None:
    table = EffectTable.from_records([made_up_layer(0, 2, 1)[2]], 2)
    effect = table.estimate(np.zeros(7))
    assert effect.update_norm == 0.0
    assert effect.kept == (0.0, 0.0)
    assert np.isnan(effect.cosine).all()


def test_nothing_known_is_no_number() -> None:
    effect = EffectTable(3, 2).estimate(np.ones(7))
    assert effect.layers == 0
    assert np.isnan(effect.update_norm)


@pytest.mark.parametrize(
    "damage",
    [
        {"labels": ["C1"]},
        {"labels": ["C1", "A", "B", "C", "D+", "D-", "Z"]},
        {"labels": ["C1", "A@9", "B", "C", "D+", "D-", "E"]},
        {"gram": [[1.0]]},
        {"cross": None},
        {"task_energy": [1.0, float("nan")]},
        {"task_energy": ["a", "b"]},
    ],
)
def test_damaged_scalars_are_left_out(damage: dict[str, Any]) -> None:
    good = made_up_layer(0, 2, 1)[2]
    bad = {**good, "effect": {**good["effect"], **damage}}
    table = EffectTable.from_records([good, bad], 2)
    assert table.layers == 1
    assert table.put(1, good)
    assert table.layers == 2
    assert not table.put(1, {**good, "status": "pending"})
    assert table.layers == 1


def test_fake_records_are_whole() -> None:
    """The made-up runs of these tests carry scalars that the table takes."""
    index = [layer for layer in layers(2) if layer["role"] == "matrix"]
    assert EffectTable.from_records([record(layer) for layer in index], 2).layers == len(index)


def test_norms_of_the_whole_task_vectors_count() -> None:
    """What truncation removed makes the update smaller in relation, and the cosine too."""
    _, _, stored = made_up_layer(0, 2, 1)
    truncated = EffectTable.from_records([stored], 2).estimate(np.ones(7))
    norms = [2.0 * energy**0.5 for energy in stored["effect"]["task_energy"]]
    whole = EffectTable.from_records([{**stored, "norm": {"task_vectors": norms}}], 2).estimate(np.ones(7))
    assert whole.update_norm == pytest.approx(truncated.update_norm / 2)
    assert whole.cosine == pytest.approx([value / 2 for value in truncated.cosine])
    assert whole.kept == pytest.approx([value / 4 for value in truncated.kept])
