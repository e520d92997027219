"""What a comparison is asked to do. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sweep.settings import SweepRequest


@dataclass(frozen=True)
class CompareRequest:
    """One comparison."""

    sweep: SweepRequest
    """Run, data, metrics, test data and how to measure; its search is not used."""
    budget: int = 4
    """Settings that are tried of every method, its defaults among them; globa gets the paper's 18 candidates."""

    def __post_init__(self) -> None:
        if self.budget < 1:
            msg = f"--budget is {self.budget}; give at least 1, for the defaults"
            raise SettingsError(msg)
