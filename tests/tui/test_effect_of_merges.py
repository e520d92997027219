"""The estimate against the update of a model that was really merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from globa_tui.effect import EffectTable
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.recipe import Recipe, parse_coef
from globa_tui.resolve import LayerIndex
from store.run import Run
from tests.jobs.family import family


def deltas(folder: Path, base: Path, names: list[str]) -> torch.Tensor:
    """What a model moved in these tensors, one after another."""
    after, before = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors")
    return torch.cat([(after[name].double() - before[name].double()).flatten() for name in names])


def test_estimate_with_overrides_is_what_the_merged_model_shows(tmp_path: Path) -> None:
    base, tuned = family(tmp_path)
    everything = AnalysisSettings(svd_energy=(1.0,), eta=(0.95, 0.8), basis_energy=1.0)
    run_analysis(AnalysisRequest(str(base), tuple(map(str, tuned)), tmp_path / "run.globa", everything))
    words = ("mlp:D-=0.5,A=0.25", "blocks 1:C1=0.8", "layer model.layers.0.self_attn.q_proj.weight:E=0")
    recipe = Recipe(run=str(tmp_path / "run.globa"), overrides=tuple(map(parse_coef, words)), dtype="float64")
    run_merge(recipe, tmp_path / "out")
    records = Run.open(tmp_path / "run.globa").records()
    found = EffectTable.from_records(records, 2).estimate(LayerIndex(records).coefficients(recipe))
    names = [record["name"] for record in records if record["status"] == "done"]
    update = deltas(tmp_path / "out", base, names)
    vectors = [deltas(folder, base, names) for folder in tuned]
    assert found.layers == len(names)
    assert found.update_norm == pytest.approx(float(update.norm() / vectors[0].norm()), rel=1e-4)
    for task, vector in enumerate(vectors):
        cosine = float(update @ vector / update.norm() / vector.norm())
        assert found.cosine[task] == pytest.approx(cosine, abs=1e-4)
