"""The demo family's models, loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from globa_tui.jobs.evaluation.loading import find_model, load_model
from tests.evaluation.questions import MODELS

CPU = torch.device("cpu")


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are no faster with more threads, and much slower where other work wants the processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def math() -> tuple[Any, Any]:
    """The fine-tune on sums, and its tokenizer."""
    return load_model(find_model(str(MODELS / "math")), CPU, torch.float32)
