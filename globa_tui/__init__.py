"""globa-tui: diagnose how fine-tuned models overlap, layer by layer, and merge them.

``from globa_tui import open_index, analyze, open_run, merge, check, Recipe, AnalysisSettings`` does from Python what
the commands do; see docs/python.md. Nothing heavy is imported before the first of these names is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from globa_tui.api import (
        AnalysisSettings,
        CheckReport,
        EngineChoice,
        Index,
        MergeResult,
        Progress,
        Recipe,
        Run,
        analyze,
        check,
        merge,
        open_index,
        open_run,
    )

__version__ = "0.1.0"

__all__ = [
    "AnalysisSettings",
    "CheckReport",
    "EngineChoice",
    "Index",
    "MergeResult",
    "Progress",
    "Recipe",
    "Run",
    "__version__",
    "analyze",
    "check",
    "merge",
    "open_index",
    "open_run",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from globa_tui import api

        return getattr(api, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
