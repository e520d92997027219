"""The check that GPU owners run, run on the processor: it passes where results agree, and fails where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu
from tests.jobs.family import family


@pytest.fixture
def small(tmp_path, monkeypatch):
    base, tuned = family(tmp_path, blocks=1)
    monkeypatch.setattr(gpu, "make_models", lambda *sizes: (str(base), tuple(map(str, tuned))))
    monkeypatch.setattr(gpu, "SPECTRA", (gpu.layers.BROAD,))
    return ["--device", "cpu", "--size", "64", "--out", str(tmp_path / "report.json")]


def test_the_processor_agrees_with_itself(small):
    assert gpu.main(small) == 0
    report = json.loads(Path(small[-1]).read_text(encoding="utf-8"))
    assert report["machine"]["device"] == "cpu"
    assert {row["reached"] for row in report["rows"]} == {True, None}
    assert len(report["rows"]) == 5


def test_a_device_that_computes_otherwise_is_found_out(small, monkeypatch):
    real, calls = gpu.analyse_layer, [0]

    def every_second_is_off(base, models, options):
        calls[0] += 1
        return real(base, [model * (1 + 0.05 * (calls[0] % 2)) for model in models], options)

    monkeypatch.setattr(gpu, "analyse_layer", every_second_is_off)
    assert gpu.main(small) == 1
