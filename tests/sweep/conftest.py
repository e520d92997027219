"""A run over a little of the demo family, and data to measure its merges on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from tests.evaluation.questions import MODELS, sums, write_rows, write_text


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first block's attention, with data beside it."""
    folder = tmp_path_factory.mktemp("sweep")
    settings = AnalysisSettings(include=("layers.0.self_attn",), eta=(0.95, 0.9))
    sources = (str(MODELS / "math"), str(MODELS / "code"))
    asked = AnalysisRequest(str(MODELS / "base"), sources, folder / "r.globa", settings)
    run_analysis(asked)
    write_rows(folder / "sums.jsonl", sums(6))
    write_text(folder / "code.txt", 300)
    return asked.store
