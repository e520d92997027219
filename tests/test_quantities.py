"""Every number that is shown has a unit, a meaning and a source, and docs/metrics.md says so."""

from pathlib import Path

import pytest

from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.quantities import QUANTITIES, page, quantity
from globa_tui.tui.metrics import METRICS
from store.run import Run
from tests.jobs.family import family

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"


def test_the_page_is_the_registry() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m globa_tui.quantities > docs/metrics.md"


def test_every_key_of_a_record_is_known(tmp_path: Path) -> None:
    base, fine_tuned = family(tmp_path, blocks=1, tasks=3)
    settings = AnalysisSettings(include=("up_proj", "norm"))
    run_analysis(AnalysisRequest(str(base), tuple(map(str, fine_tuned)), tmp_path / "run.globa", settings))
    unknown = set()
    for record in Run.open(tmp_path / "run.globa").records():
        unknown |= {key for key in record if not any(path.partition(".")[0] == key for path in QUANTITIES)}
    assert unknown <= {"index", "file", "stored"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_every_number_of_the_interface_has_an_entry(metric) -> None:
    """Adding one to the interface is one registry entry, which names what it shows."""
    found = quantity(metric.quantity)
    assert found is not None
    assert metric.source or found.path in _PLAIN


_PLAIN = (
    "seconds", "relative_size", "stable_rank", "effective_rank", "clusters.left.energy", "conflict.zeros"
)  # fmt: skip
"""What no paper defines."""


def test_a_path_finds_the_nearest_entry_above_it() -> None:
    assert quantity("rank_at.0.95") is QUANTITIES["rank_at"]
    assert quantity("nothing.of.this") is None
