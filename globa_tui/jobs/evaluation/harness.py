"""Tasks of EleutherAI's lm-evaluation-harness, through its library (``pip install globa-tui[eval]``)."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib import metadata
from pathlib import Path
from typing import Any

from globa_tui.diagnostics import ProgramError, UsageError
from globa_tui.jobs.evaluation.loading import quiet_transformers
from globa_tui.jobs.evaluation.metrics import Metric
from globa_tui.jobs.evaluation.settings import EvaluationSettings

_NORMAL_95 = 1.959964
_SHARES = frozenset({"acc", "acc_norm", "exact_match", "f1", "mc1", "mc2"})
"""Metrics of lm-eval that lie between 0 and 1, and their intervals with them."""


class HarnessError(ProgramError):
    """lm-eval could not measure a task."""


def harness_version() -> str:
    """The version of lm-eval that is installed.

    Raises
    ------
    UsageError
        When it is not.
    """
    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        msg = "--tasks needs lm-eval: pip install 'globa-tui[eval]'"
        raise UsageError(msg) from None


def task_hash(task: str, tasks_from: Path | None) -> str:
    """What stands for a task's data: its name, lm-eval's version, and the definitions in a folder of the user's."""
    whole = hashlib.sha256(f"lm-eval {harness_version()} {task}".encode())
    if tasks_from is not None:
        for path in sorted(path for path in tasks_from.rglob("*") if path.is_file()):
            whole.update(f"{path.relative_to(tasks_from)}\0".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def run_harness(
    task: str, tasks_from: Path | None, model: Any, tokenizer: Any, settings: EvaluationSettings, *, download: bool
) -> dict[str, Metric]:
    """Measure a loaded model on one task.

    Returns
    -------
    Metrics by lm-eval's names; a filter other than ``none`` follows in brackets. Intervals are normal ones from
    lm-eval's standard errors, at 95 %.

    Raises
    ------
    HarnessError
        When there is no such task, or its data cannot be had.
    """
    harness_version()
    import lm_eval  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    try:
        with quiet_transformers(), _silent(), _offline(not download):
            wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=settings.window)
            manager = TaskManager(include_path=None if tasks_from is None else str(tasks_from))
            found = lm_eval.simple_evaluate(
                model=wrapped,
                tasks=[task],
                task_manager=manager,
                limit=settings.limit,
                bootstrap_iters=settings.resamples,
                random_seed=settings.seed,
                numpy_random_seed=settings.seed,
                torch_random_seed=settings.seed,
                fewshot_random_seed=settings.seed,
                log_samples=False,
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        # Libraries that may not fetch say so in either of the two.
        unfetched = isinstance(error, ConnectionError | FileNotFoundError)
        hint = "; --download lets it fetch its data" if unfetched and not download else ""
        msg = f"lm-eval, {task}: {reason}{hint}"
        raise HarnessError(msg) from error
    return harness_metrics(found or {})


def harness_metrics(found: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics in a result of ``simple_evaluate``; those of a group's tasks carry the task's name."""
    results: Mapping[str, Mapping[str, Any]] = found.get("results", {})
    counts: Mapping[str, Any] = found.get("n-samples", {})
    metrics: dict[str, Metric] = {}
    for task, values in results.items():
        items = counts.get(task, {}).get("effective")
        for key, value in values.items():
            name, comma, applied = key.partition(",")
            if not comma or name.endswith("_stderr") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            error = values.get(f"{name}_stderr,{applied}")
            spread = _NORMAL_95 * error if isinstance(error, int | float) else None
            shown = name if applied == "none" else f"{name}[{applied}]"
            shown = shown if len(results) == 1 else f"{task}.{shown}"
            low, high = (None, None) if spread is None else (value - spread, value + spread)
            if low is not None and high is not None and name in _SHARES:
                low, high = max(low, 0.0), min(high, 1.0)
            metrics[shown] = Metric(shown, float(value), low, high, items if type(items) is int else None)
    return metrics


@contextmanager
def _silent() -> Iterator[None]:
    """Within the block nobody writes to stderr, which is ours: lm-eval and datasets draw bars of their own."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Within the block the libraries of Hugging Face fetch nothing, when that is wanted and they obey the variable."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE") if wanted else ()
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
