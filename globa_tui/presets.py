"""Published settings by name: coefficients for merging, pruning thresholds for analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from globa_tui.coefficients import PATTERNS, Coefficients, RecipeError


@dataclass(frozen=True)
class MergePreset:
    """One coefficient for every pattern."""

    name: str
    coefficients: Coefficients
    description: str
    source: str


@dataclass(frozen=True)
class AnalysisPreset:
    """η of the first and the second fine-tune."""

    name: str
    eta: tuple[float, float]
    description: str
    source: str


def _merge(name: str, values: Mapping[str, float], description: str, source: str) -> MergePreset:
    return MergePreset(name, Coefficients({**dict.fromkeys(PATTERNS, 0.0), **values}), description, source)


def _all(value: float) -> dict[str, float]:
    return dict.fromkeys(PATTERNS, value)


_MERGE = (
    _merge("readme", {"C1": 1, "D-": 1, "E": 1}, "C1, D- and E at 1", "GLOBA README, hyperparameter block"),
    _merge(
        "all", _all(1), "every pattern at 1: the sum of both pruned task vectors", "appendix, All Patterns Combined"
    ),
    _merge("a-only", {"C1": 1, "A": 1}, "C1 and the fully orthogonal part", "appendix Tables 2 and 7"),
    _merge("d-minus", {"C1": 1, "D-": 1}, "C1 and the opposite-sign overlap", "appendix Table 5, 13B math + code"),
    _merge("uniform-0.6", _all(0.6), "everything at 0.6, C1 too", "appendix Table 6, 13B math + instruction"),
    _merge(
        "no-d-minus-0.7",
        {**_all(0.7), "C1": 1, "D-": 0},
        "C1 at 1, all but D- at 0.7",
        "appendix Table 3, stage 1, 7B math + instruction",
    ),
    _merge(
        "math-instruct-7b",
        {**_all(0.7), "C1": 1, "D-": 1.2},
        "C1 at 1, D- at 1.2, the rest at 0.7",
        "appendix Table 3, stage 2, 7B math + instruction",
    ),
)

_TABLE_1 = {
    "7b-math-code": (0.95, 0.80),
    "7b-math-instruct": (0.80, 0.80),
    "7b-instruct-code": (0.70, 0.99),
    "13b-math-code": (0.80, 0.80),
    "13b-math-instruct": (0.80, 0.80),
    "13b-instruct-code": (0.80, 0.80),
}

MERGE_PRESETS: Mapping[str, MergePreset] = {preset.name: preset for preset in _MERGE}
ANALYSIS_PRESETS: Mapping[str, AnalysisPreset] = {
    name: AnalysisPreset(name, eta, f"eta {eta[0]} and {eta[1]}", "appendix Table 1") for name, eta in _TABLE_1.items()
}
DEFAULT_PRESET = "readme"


def merge_preset(name: str) -> MergePreset:
    """The merge preset of that name."""
    if name not in MERGE_PRESETS:
        msg = f"unknown preset {name!r}; the presets are {', '.join(MERGE_PRESETS)}"
        raise RecipeError(msg)
    return MERGE_PRESETS[name]


def analysis_preset(name: str) -> AnalysisPreset:
    """The analysis preset of that name."""
    if name not in ANALYSIS_PRESETS:
        msg = f"unknown preset {name!r}; the presets are {', '.join(ANALYSIS_PRESETS)}"
        raise RecipeError(msg)
    return ANALYSIS_PRESETS[name]
