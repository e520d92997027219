"""Fine-tunes of one base in memory, and what every merge of them is worth, measured once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from demo.study.members import BASE_FOLDER, OUT, Member, data_words
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.compare.shown import layer_values, show_method
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.job import Sweep
from globa_tui.jobs.sweep.results import Values
from globa_tui.jobs.sweep.settings import SweepRequest
from globa_tui.recipe import Recipe
from store.run import Run
from store.run.journal import append_journal, read_journal

SETTINGS = AnalysisSettings(exclude=("embed",))
"""The published thresholds, without the embedding: its task vector loses its skill at 90 % (demo/README.md)."""


class Bed:
    """One group of fine-tunes: their analysis, the base in memory, and the journal of what was measured.

    What is measured lies in ``build/study``, and belongs to the bytes of the models and of the data.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.name = "+".join(member.name for member in members) if len(members) < 4 else f"all-{len(members)}"
        self.run = OUT / f"{self.name}.globa"
        self.words = data_words(tuple(dict.fromkeys(member.task for member in members)))
        self._journal = OUT / f"{self.name}.{_identity(members, self.words)}.jsonl"
        self.found: dict[str, Any] = {line["key"]: line["value"] for line in read_journal(self._journal)}

    def kept(self, key: str, measure: Callable[[], Any]) -> Any:
        """What is measured under a key; it is measured when the journal does not have it."""
        if key not in self.found:
            value = measure()
            append_journal(self._journal, {"key": key, "value": value})
            self.found[key] = value
        return self.found[key]

    @cached_property
    def sweep(self) -> Sweep:
        """The base in memory, ready to become any merge."""
        run_analysis(AnalysisRequest(str(BASE_FOLDER), tuple(str(m.folder) for m in self.members), self.run, SETTINGS))
        settings = EvaluationSettings(window=256, generate=False)
        return Sweep(SweepRequest(self.run, self.words, settings=settings))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """What the analysis says of every matrix."""
        assert self.sweep is not None, "it makes the analysis"
        return [dict(record) for record in Run.open(self.run).records()]

    def sources(self) -> None:
        """Measure the base and every fine-tune."""
        self._measured("base", lambda: self.sweep.model.show_base())
        for number, member in enumerate(self.members):
            self._measured(member.name, partial(lambda n: self.sweep.model.show_fine_tuned(n), number))

    def candidate(self, key: str, candidate: Candidate) -> Values:
        """Measure a GLOBA merge."""
        return self._measured(key, lambda: self.sweep.model.show(candidate))

    def method(self, key: str, name: str, params: Mapping[str, Any]) -> Values:
        """Measure another method's merge."""
        return self._measured(key, lambda: self.show_method(name, params))

    def show_method(self, name: str, params: Mapping[str, Any]) -> None:
        """Become another method's merge."""
        tuned = tuple(str(member.folder) for member in self.members)
        recipe = Recipe(base=str(BASE_FOLDER), fine_tuned=tuned, method=name, params=dict(params))
        show_method(self.sweep.model, self.sweep.plan.index, recipe, self.sweep.measurer.device)

    def matrices(self) -> list[tuple[Tensor, list[Tensor], Tensor]]:
        """Base, task vectors, and what the merge that is shown adds, of every analysed matrix, in float32."""
        names = {record["name"] for record in self.records if record["status"] == "done"}
        found = []
        for values in layer_values(self.sweep.plan.index, self.sweep.measurer.device):
            if values.layer.name in names:
                base, models = values.whole()
                start = base.float()
                merged = self.sweep.model.shown(values.layer).float() - start
                found.append((start, [one.float() - start for one in models if isinstance(one, Tensor)], merged))
        return found

    def _measured(self, key: str, show: Callable[[], object]) -> Values:
        def measure() -> Values:
            show()
            return self.sweep.tuning.values(lambda share: None)

        found: Values = self.kept(key, measure)
        return found


def _identity(members: Sequence[Member], words: Sequence[str]) -> str:
    """Hash of the models and the data."""
    paths = [BASE_FOLDER, *(member.folder for member in members)]
    hashes = [_sha256(path / "model.safetensors") for path in paths]
    hashes += [_sha256(Path(word.partition("=")[2])) for word in words]
    return hashlib.sha256(json.dumps([hashes, SETTINGS.identity()]).encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
