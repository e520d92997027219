"""What a comparison is asked to do. Free of torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from globa_tui.jobs.kinds import require_kinds
from globa_tui.jobs.settings import SettingsError
from globa_tui.jobs.sweep.settings import REQUEST, SweepRequest, request_text
from store import files

COMPARISONS = "compare"
"""Folder of the comparisons in a run."""


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

    def to_json(self) -> str:
        """The request as text that `from_json` reads; the runner and `resume` use it."""
        return json.dumps({"sweep": json.loads(self.sweep.to_json()), "budget": self.budget})

    @classmethod
    def from_json(cls, text: str) -> CompareRequest:
        """Read what `to_json` wrote.

        Raises
        ------
        SettingsError
            When it is something else.
        """
        try:
            values = json.loads(text)
            require_kinds(cls, values)
            return cls(SweepRequest.from_json(json.dumps(values["sweep"])), values["budget"])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            msg = f"not the request of a comparison ({error}); start it again with `globa-tui compare`"
            raise SettingsError(msg) from None


def write_request(request: CompareRequest) -> None:
    """Keep the request in its run, for the runner and for `resume`."""
    folder = request.sweep.run / COMPARISONS
    files.make_folder(folder)
    files.remove_stale(folder, files.ABANDONED_SECONDS)
    files.write_atomic(folder / REQUEST, request.to_json().encode())


def read_request(run: Path) -> CompareRequest:
    """The last request of a comparison over a run; it works on this run, wherever the folder is now.

    Raises
    ------
    SettingsError
        When there is none, or it cannot be read.
    """
    found = CompareRequest.from_json(request_text(run / COMPARISONS / REQUEST, "compare"))
    return dataclasses.replace(found, sweep=dataclasses.replace(found.sweep, run=run))
