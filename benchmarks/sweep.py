"""A candidate of a sweep in memory against the same merge written and loaded."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.measure import Row, in_turn, ratio_row
from globa_tui.coefficients import PATTERNS, Coefficients
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.evaluation.loading import ModelFolder, load_model
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.merge_plan import plan_merge
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.jobs.sweep import model as models
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.model import SweepModel
from globa_tui.recipe import Recipe

GOAL = 20.0
CPU = torch.device("cpu")


def candidates(rounds: int = 3, width: int = 512) -> list[Row]:
    """All coefficients change from candidate to candidate; with the deltas of the patterns kept, and from factors."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = _analysed(folder, width)
        return [_row(folder, run, width, rounds, kept=kept) for kept in (True, False)]


def _row(folder: Path, run: Path, width: int, rounds: int, *, kept: bool) -> Row:
    loaded = load_model(ModelFolder("base", folder / "base"), CPU, torch.bfloat16)[0]
    before = models._SHARE_OF_MEMORY
    models._SHARE_OF_MEMORY = before if kept else 0.0
    try:
        sweep = SweepModel(plan_merge(Recipe(run=str(run)), MergeOptions()), loaded, CPU)
    finally:
        models._SHARE_OF_MEMORY = before
    sweep.show(_candidate(0))
    numbers = itertools.count(1)

    def merge_and_load() -> None:
        recipe = _candidate(next(numbers)).recipe(str(run))
        run_merge(recipe, folder / "out", MergeOptions(overwrite=True))
        load_model(ModelFolder("out", folder / "out"), CPU, torch.bfloat16)

    def in_memory() -> None:
        sweep.show(_candidate(next(numbers)))

    slow, fast, ratio = in_turn(merge_and_load, in_memory, rounds)
    size = sum(parameter.numel() for parameter in loaded.parameters())
    how = "deltas kept" if kept else "from factors"
    what = f"candidate of a sweep, {how}, against merge + load ({size / 1e6:.0f} M parameters, width {width})"
    return ratio_row(what, ratio, GOAL, at_least=True, merge_and_load=slow, in_memory=fast)


def _candidate(number: int) -> Candidate:
    return Candidate(Coefficients({pattern: 1.0 + 0.01 * number + 0.1 * i for i, pattern in enumerate(PATTERNS)}))


def _analysed(folder: Path, width: int) -> Path:
    """A base with two fine-tunes of decaying task vectors, and their analysis."""
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    base: Any = LlamaForCausalLM(config).to(torch.bfloat16)
    _save(base, folder / "base")
    for number in (1, 2):
        tuned: Any = LlamaForCausalLM(config).to(torch.bfloat16)
        with torch.no_grad():
            for (_, weight), (_, start) in zip(tuned.named_parameters(), base.named_parameters(), strict=True):
                weight.copy_(start.float() + _move(start, number))
        _save(tuned, folder / f"ft{number}")
    run = folder / "run.globa"
    sources = (str(folder / "ft1"), str(folder / "ft2"))
    run_analysis(AnalysisRequest(str(folder / "base"), sources, run, AnalysisSettings(exclude=("embed",))))
    return run


def _move(start: torch.Tensor, number: int) -> torch.Tensor:
    if start.ndim == 1:
        return torch.zeros_like(start, dtype=torch.float32)
    generator = torch.Generator().manual_seed(number)
    rank = min(start.shape) // 2
    left = torch.randn(start.shape[0], rank, generator=generator) * torch.linspace(1, 0.05, rank) ** 2
    return 2e-4 * left @ torch.randn(rank, start.shape[1], generator=generator)


def _save(model: Any, folder: Path) -> None:
    from demo.tokenizer import save_tokenizer

    model.save_pretrained(folder)
    save_tokenizer(folder)
