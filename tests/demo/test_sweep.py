"""The data that the demo's sweep is tuned and tested on have nothing in common, and the page says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo import sweep
from globa_tui.coefficients import PATTERNS, Coefficients
from globa_tui.jobs.compare.results import Comparison, Line
from globa_tui.jobs.evaluation.metrics import Reference
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.job import SweepOutcome
from globa_tui.jobs.sweep.results import read_results
from globa_tui.recipe import Recipe
from store.run.journal import append_journal


def test_tuning_and_test_data_have_nothing_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "OUT", tmp_path)
    data = sweep.write_data()
    assert data["tune"] == (f"math={tmp_path}/tune.jsonl", f"code={tmp_path}/tune.txt")
    tune, test = (
        {json.loads(line)["prompt"] for line in (tmp_path / f"{part}.jsonl").read_text().splitlines()}
        for part in ("tune", "test")
    )
    assert (len(tune), len(test)) == (sweep.TUNING_SUMS, 300)
    assert not tune & test
    texts = [(tmp_path / f"{part}.txt").read_text() for part in ("tune", "test")]
    assert "".join(texts) == (sweep.DATA / "code.txt").read_text(encoding="utf-8")[: sum(map(len, texts))]
    assert min(map(len, texts)) > 10_000


@pytest.mark.parametrize(("other", "verdict"), [(0.5, "beats"), (0.95, "does not beat")])
def test_the_page_says_what_was_measured(tmp_path: Path, other: float, verdict: str) -> None:
    candidate = Candidate(Coefficients(dict.fromkeys(PATTERNS, 0.7)))
    path = tmp_path / "x.jsonl"
    append_journal(path, {"format": 1, "tasks": [{"name": n, "metric": "accuracy"} for n in ("math", "code")]})
    for name, value in (("base", 0.1), ("fine-tune 1", 1.0)):
        append_journal(path, {"reference": name, "values": {t: {"accuracy": value} for t in ("math", "code")}})
    append_journal(path, {"candidate": candidate.to_dict(), "values": {t: {"accuracy": 0.8} for t in ("math", "code")}})
    results = read_results(path)
    assert results is not None
    assert results.best is not None
    values = {task: {"accuracy": other} for task in ("math", "code")}
    line = Line("ties", "defaults", values, 0.1, None, 0.2, "x", {})
    found = Comparison(
        results.tasks, {task: Reference("accuracy", 0.1, 1.0) for task in results.tasks}, "share", [line]
    )
    outcome = SweepOutcome(results, results.best, Recipe(run="r"), results)
    number = {"value": 0.8, "low": 0.7, "high": 0.9, "items": 9}
    checked = {"math": {"exact_match": number}, "code": {"bits_per_byte": number}}
    text = sweep.page(outcome, found, found, [], checked)
    assert f"the swept recipe {verdict} the best untuned method" in text
    assert f"0.800 against {other:.3f} (ties, defaults" in text
    assert "| **swept** | 0.800 | 0.800 | 0.800 | 0.778 | 0.778 | 0.778 |" in text
