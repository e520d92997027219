"""What an evaluation is asked to do. Free of torch, so that the command line can hold it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from globa_tui.jobs.settings import SettingsError

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class EvaluationSettings:
    """How models are measured."""

    window: int = 1024
    """Tokens that text is read in at a time; at most what the model takes. Longer gives more context and costs more."""
    limit: int | None = None
    """Use the first so many questions, and so many windows of each text; None uses all."""
    max_new_tokens: int = 256
    """Most tokens that an answer may take when it is generated."""
    generate: bool = True
    """Generate answers. Without it only what the right answers cost is measured, in one pass."""
    dtype: str = "auto"
    """Type that weights are held in: auto is the model's own on a GPU, float32 on a CPU."""
    resamples: int = 1000
    """Resamples of the bootstrap."""
    level: float = 0.95
    """Level of the confidence intervals."""
    seed: int = 0
    """Seed of the bootstrap."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. Not part of a measurement's identity."""
    batch_tokens: int = 4096
    """Tokens that are computed at a time; higher is faster on a GPU and takes more memory. Not part of the identity."""

    _IDENTITY_FREE = ("device", "batch_tokens")

    def __post_init__(self) -> None:
        for flag, value in (
            ("--window", self.window - 1),
            ("--limit", 1 if self.limit is None else self.limit),
            ("--max-new-tokens", self.max_new_tokens),
            ("--resamples", self.resamples),
            ("--batch-tokens", self.batch_tokens),
        ):
            if value < 1:
                msg = f"{flag} is too small; give a larger number"
                raise SettingsError(msg)
        if not 0.0 < self.level < 1.0:
            msg = f"--level is {self.level}: it lies between 0 and 1"
            raise SettingsError(msg)
        if self.dtype not in DTYPES:
            msg = f"--dtype is {self.dtype!r}; choose one of {', '.join(DTYPES)}"
            raise SettingsError(msg)

    def identity(self) -> dict[str, Any]:
        """The settings that a measurement depends on."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in self._IDENTITY_FREE}


@dataclass(frozen=True)
class EvaluationRequest:
    """Which models to measure, on what, and where the results go."""

    models: tuple[str, ...]
    data: tuple[str, ...] = ()
    """Files of text or JSONL, each as ``PATH`` or ``NAME=PATH``."""
    tasks: tuple[str, ...] = ()
    """Tasks of lm-eval, by name."""
    tasks_from: Path | None = None
    """Folder of further task definitions for lm-eval."""
    commands: tuple[str, ...] = ()
    """Own programs that print JSON, ``{model}`` standing for the model, each as ``COMMAND`` or ``NAME=COMMAND``."""
    store: Path | None = None
    """Run folder that keeps the results; None keeps nothing."""
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    fresh: bool = False
    """Measure again what the store already holds."""
    download: bool = False
    trust_remote_code: bool = False
    """Let a model folder bring its own Python code."""

    def __post_init__(self) -> None:
        if not (self.data or self.tasks or self.commands):
            msg = "nothing to measure: give --data FILE, --tasks NAME or --command 'PROGRAM {model}'"
            raise SettingsError(msg)

    def to_json(self) -> str:
        """The request as text that `from_json` reads, for the runner's command line.

        It is never kept in a run: a run may come from a stranger, and a request may name programs to start.
        """
        values = dataclasses.asdict(self)
        paths = {name: str(path.absolute()) for name in ("tasks_from", "store") if (path := values[name]) is not None}
        return json.dumps({**values, **paths})

    @classmethod
    def from_json(cls, text: str) -> EvaluationRequest:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        settings = EvaluationSettings(**values.pop("settings"))
        paths = {name: Path(values[name]) for name in ("tasks_from", "store") if values[name] is not None}
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        plain |= paths
        return cls(**plain, settings=settings)
