"""The settings of a PEFT adapter, ``adapter_config.json``: plain LoRA is read, everything else refused by name."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from store.checkpoints.files import inside
from store.checkpoints.json_text import read_object
from store.checkpoints.text import shown
from store.errors import CheckpointError

CONFIG_NAME = "adapter_config.json"
_LIMIT = 10_000_000
_CURE = "merge it into its base with PEFT (merge_and_unload) and name the result"

# Settings that make an adapter something else than W + scale · B A, or change the base below it.
_FOREIGN = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "alora_invocation_tokens",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
"""Ways to start the factors that leave the base as it is; PiSSA, OLoRA, CorDA and LoftQ do not."""
_LONGEST_PATTERN = 500
_MOST_REPEATS = 4


@dataclass(frozen=True)
class AdapterConfig:
    """What the factors of an adapter mean."""

    default_rank: int
    alpha: float
    ranks: Mapping[str, float]
    alphas: Mapping[str, float]
    rank_stabilised: bool
    fan_in_fan_out: bool
    """Whether the base stores its linear layers as (in, out), as GPT-2 does."""

    def rank(self, module: str) -> int:
        """Rank of one module: that of the first pattern that matches its name, else ``r``."""
        return int(_matching(self.ranks, module, self.default_rank))

    def scale(self, module: str) -> float:
        """Factor before ``B A``: ``alpha / r``, or ``alpha / sqrt(r)`` when rank-stabilised."""
        rank = self.rank(module)
        return _matching(self.alphas, module, self.alpha) / (math.sqrt(rank) if self.rank_stabilised else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read the settings of an adapter.

    Raises
    ------
    CheckpointError
        When it is not a plain LoRA adapter; the message names the key and its value.
    """
    path = inside(folder, CONFIG_NAME)
    values = read_object(path, "text", _LIMIT, strict=False)
    kind = values.get("peft_type")
    if kind != "LORA":
        raise _refused(path, "peft_type", kind, "only LORA is read")
    for key in _FOREIGN:
        if values.get(key) not in (None, False, [], {}):
            raise _refused(path, key, values[key], "only plain LoRA is read")
    start = values.get("init_lora_weights", True)
    if start not in (None, True, False, *_PLAIN_STARTS):
        raise _refused(path, "init_lora_weights", start, "such a start changes the base itself")
    rank = _number(path, "r", values.get("r", 8))
    if rank != int(rank) or rank < 1:
        raise _refused(path, "r", rank, "a rank is a whole number from 1")
    return AdapterConfig(
        default_rank=int(rank),
        alpha=_number(path, "lora_alpha", values.get("lora_alpha", 8)),
        ranks=_patterns(path, "rank_pattern", values.get("rank_pattern"), least=1),
        alphas=_patterns(path, "alpha_pattern", values.get("alpha_pattern")),
        rank_stabilised=bool(values.get("use_rslora", False)),
        fan_in_fan_out=bool(values.get("fan_in_fan_out", False)),
    )


def _matching(patterns: Mapping[str, float], module: str, default: float) -> float:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _patterns(path: Path, key: str, value: object, least: float = -math.inf) -> dict[str, float]:
    if not isinstance(value, dict | None):
        raise _refused(path, key, value, "it is a mapping from names to numbers")
    found: dict[str, float] = {}
    for pattern, number in (value or {}).items():
        _check_pattern(path, key, pattern)
        found[pattern] = _number(path, f"{key}.{pattern}", number)
        if found[pattern] < least:
            raise _refused(path, f"{key}.{pattern}", number, f"it is at least {least:g}")
    return found


def _check_pattern(path: Path, key: str, pattern: str) -> None:
    """Refuse expressions that could take for ever; those that PEFT writes repeat a character class at most."""
    repeats = sum(pattern.count(sign) for sign in "*+{")
    if len(pattern) > _LONGEST_PATTERN or repeats > _MOST_REPEATS or re.search(r"\)[*+?{]|\\[1-9]|\(\?", pattern):
        raise _refused(path, key, pattern, "this expression is too involved")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, OverflowError, Warning) as error:
        raise _refused(path, key, pattern, f"not a regular expression ({error})") from error


def _number(path: Path, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise _refused(path, key, value, "it is a finite number")
    return float(value)


def _refused(path: Path, key: str, value: object, why: str) -> CheckpointError:
    return CheckpointError(f"{shown(path)}: {shown(key)} is {shown(repr(value))[:120]}: {why}; {_CURE}")
