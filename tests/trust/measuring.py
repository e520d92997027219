"""Commands that run models, to be disturbed: what they measured before is kept, and the rest is as if undisturbed."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from globa_tui.jobs.compare.settings import COMPARISONS
from store.run import read_states
from store.run.journal import EVALUATIONS, SWEEPS, read_journal
from tests.evaluation.questions import MODELS, sums, write_rows, write_text
from tests.trust.command import Command, Zygote
from tests.trust.trial import Operation, leftovers

MODULES = (
    "globa_tui.cli.app",
    "globa_tui.jobs.analyze",
    "globa_tui.jobs.compare.job",
    "globa_tui.jobs.evaluation.job",
    "globa_tui.jobs.loaded_model",
    "globa_tui.jobs.represent",
    "transformers.models.auto.modeling_auto",
)
SOURCES = tuple(str(MODELS / name) for name in ("base", "math", "code"))
VOLATILE = ("seconds", "build_seconds", "time", "memory", "run")


class MeasuringBench:
    """A run over a little of the demo family, data, and what undisturbed commands measure with them."""

    def __init__(self, folder: Path, zygote: Zygote) -> None:
        self.folder, self.zygote = folder, zygote
        self._numbers = itertools.count()
        self.run = folder / "r.globa"
        self.text = write_text(folder / "code.txt", 300)
        self.sums = write_rows(folder / "sums.jsonl", sums(4))
        only = ["--include", "layers.0.self_attn", "--quiet"]
        made = zygote.run(folder, "analyze", *SOURCES, "--store", self.run, *only, seconds=120)
        assert made.code == 0, made.err

    def fresh_folder(self) -> Path:
        folder = self.folder / f"trial-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def operation(self, name: str) -> Operation:
        """A command, measured once undisturbed."""
        words, check_same = self._words(name), Measured()
        operation = Operation(name, words, self._prepare(name), check_same.check, check_same.check_whole, {}, 0.0)
        folder = self.fresh_folder()
        operation.prepare(folder)
        begun = time.monotonic()
        command = self.zygote.run(folder, *words(folder), seconds=300)
        operation.seconds = time.monotonic() - begun
        assert command.code == 0, command.err
        # Models are read by transformers, where no fault can be put in.
        operation.counts = {access: count for access, count in command.counts.items() if access != "read"}
        check_same.whole = results(folder / "run.globa")
        assert any(check_same.whole.values())
        shutil.rmtree(folder)
        return operation

    def _prepare(self, name: str) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            if name in ("sweep", "compare"):
                shutil.copytree(self.run, folder / "run.globa")

        return prepare

    def _words(self, name: str) -> Callable[[Path], list[object]]:
        candidates = ["--search", "grid", "--grid", "A=0,1", "--grid", "D-=0,1"]

        def words(folder: Path) -> list[object]:
            run, data = folder / "run.globa", ["--data", self.text, "--data", self.sums]
            known = {
                "represent": [*SOURCES, *data, "--samples", 3, "--batch-size", 2, "--store", run],
                "evaluate": [*SOURCES, *data, "--window", 64, "--no-generate", "--store", run],
                "sweep": [run, *data, "--window", 64, *candidates],
                "compare": [run, *data[:2], "--window", 64, "--budget", 1],
            }
            return [name, *known[name], "--quiet"]

        return words


class Measured:
    """What one command must have kept after each disturbance, and what it must have measured in the end."""

    def __init__(self) -> None:
        self.whole: dict[str, Any] = {}
        self._kept: dict[Path, tuple[dict[str, list[Any]], dict[str, tuple[int, int]]]] = {}

    def check(self, folder: Path, command: Command) -> None:
        run = folder / "run.globa"
        self._kept[folder] = lines(run), files_of_states(run)
        for path in leftovers(run):
            assert command.code is not None
            assert command.code < 0, path
            os.utime(path, (0, 0))  # ten minutes later

    def check_whole(self, folder: Path) -> None:
        run = folder / "run.globa"
        before, states = self._kept.pop(folder, ({}, {}))
        now = lines(run)
        for name, kept in before.items():
            assert now[name][: len(kept)] == kept, f"{name}: what was measured is lost"
        found = files_of_states(run)
        assert {name: found[name] for name in states} == states, "a model was run again"
        assert results(run) == self.whole
        assert not leftovers(run), leftovers(run)


def lines(run: Path) -> dict[str, list[Any]]:
    """Every journal of a run by its name."""
    folders = (run / SWEEPS, run / COMPARISONS)
    journals = [run / EVALUATIONS, *(path for folder in folders for path in sorted(folder.glob("*.jsonl")))]
    return {str(path.relative_to(run)): read_journal(path) for path in journals}


def files_of_states(run: Path) -> dict[str, tuple[int, int]]:
    """File and time of the hidden states of every model that was run."""
    whole = [path for path in sorted(run.glob("representation/*.h5")) if read_states(run, int(path.stem)) is not None]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in whole}


def results(run: Path) -> dict[str, Any]:
    """All that was measured, without what differs from one time to the next."""
    found: dict[str, Any] = {name: [_steady(record) for record in records] for name, records in lines(run).items()}
    for name in files_of_states(run):
        states = read_states(run, int(Path(name).stem))
        assert states is not None
        found[name] = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in states[1].items()}
    derived = run / "representation" / "result.json"
    if derived.exists():
        document = json.loads(derived.read_text())
        found["representation"] = {key: document[key] for key in ("inputs", "settings", "last")}
    return found


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items() if key not in VOLATILE}
    return [_steady(one) for one in value] if isinstance(value, list) else value
