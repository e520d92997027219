"""One disturbance of one command, and what must hold after it."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.run import Run
from tests.jobs.family import family
from tests.store.make import with_config
from tests.trust.command import Command, Zygote, one_line
from tests.trust.scale import note

ERRORS = ("ENOSPC", "EIO", "EACCES", "ESTALE")
OPERATIONS = ("open", "write", "fsync", "rename", "read")
KILLS = {"write": ("SIGKILL", "SHORT", "HALF"), "read": ("SIGKILL", "SHORT")}
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
LEAVES = {"SIGTERM": 130, "SIGHUP": 130, "SIGINT": 130}
"""How a command leaves that was asked to end while its job ran."""

OK = "as if nothing had happened"
VOLATILE = ("seconds", "stored", "file")


@dataclass(frozen=True)
class Disturbance:
    """A fault at a chosen access to the disk, or a signal after some time."""

    fault: str
    plan: str = ""
    after: float | None = None
    number: int = 0

    def carry_out(self, zygote: Zygote, folder: Path, *words: object) -> Command:
        """Run a command under it until the command ends."""
        if self.after is None:
            return zygote.run(folder, *words, plan=self.plan)
        command = zygote.start(folder, *words)
        time.sleep(self.after)
        command.kill(self.number)
        command.wait()
        return command


@dataclass
class Operation:
    """A command that writes, with what it must leave behind."""

    name: str
    words: Callable[[Path], list[object]]
    prepare: Callable[[Path], None]
    check: Callable[[Path, Command], None]
    """What must hold right after the disturbance."""
    check_whole: Callable[[Path], None]
    """What must hold after the same command ran once more, undisturbed."""
    counts: dict[str, int]
    """Accesses to the disk of an undisturbed run."""
    seconds: float
    """Time of an undisturbed run."""


class Bench:
    """Models, a finished run, a merge and a packed file of them: what undisturbed commands make."""

    def __init__(self, folder: Path, zygote: Zygote, blocks: int = 1) -> None:
        self.folder, self.zygote = folder, zygote
        self._numbers = itertools.count()
        base, fine_tuned = family(folder / "models", blocks=blocks)
        with_config(base, {"architectures": ["LlamaForCausalLM"]})
        (base / "tokenizer.json").write_text('{"model": {}}')
        self.sources = [str(base), *map(str, fine_tuned)]
        self.whole = folder / "whole.globa"
        self._timed("analyze", *self.sources, "--store", self.whole, "--quiet")
        self._timed("merge", self.whole, "-o", folder / "merged", "--quiet")
        self._timed("pack", self.whole, folder / "packed.h5", "--quiet")
        self.layers = layer_digests(self.whole)
        self.records = records_of(self.whole)
        self.merged = folder_digests(folder / "merged")
        self.packed = digest(folder / "packed.h5")

    def _timed(self, *words: object) -> None:
        assert self.zygote.run(self.folder, *words).code == 0

    def fresh_folder(self) -> Path:
        folder = self.folder / f"trial-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def operations(self) -> dict[str, Operation]:
        """Every command that writes, measured once."""
        made = [self._analyze(), self._merge(), self._merge_over(), self._pack()]
        for operation in made:
            for _ in range(2):  # the second one is warm
                folder = self.fresh_folder()
                operation.prepare(folder)
                begun = time.monotonic()
                command = self.zygote.run(folder, *operation.words(folder))
                operation.seconds = min(operation.seconds or 60.0, time.monotonic() - begun)
                assert command.code == 0, command.err
                operation.counts = command.counts
                operation.check_whole(folder)
                shutil.rmtree(folder)
        return {operation.name: operation for operation in made}

    def _analyze(self) -> Operation:
        kept: dict[Path, dict[int, Any]] = {}

        def check(folder: Path, command: Command) -> None:
            kept[folder] = identities(folder / "run.globa")

        def check_whole(folder: Path) -> None:
            run = folder / "run.globa"
            now = identities(run)
            for index, before in kept.pop(folder, {}).items():
                assert now[index] == before, f"finished layer {index} was computed again"
            assert layer_digests(run) == self.layers
            assert records_of(run) == self.records
            assert not leftovers(run), leftovers(run)

        def words(folder: Path) -> list[object]:
            return ["analyze", *self.sources, "--store", folder / "run.globa", "--quiet"]

        return Operation("analyze", words, lambda folder: None, check, check_whole, {}, 0.0)

    def _merge(self) -> Operation:
        def check(folder: Path, command: Command) -> None:
            if (folder / "out").exists():
                assert folder_digests(folder / "out") == self.merged
            else:
                assert command.code != 0

        return Operation("merge", self._merge_words(), lambda folder: None, check, self._check_merged, {}, 0.0)

    def _merge_over(self) -> Operation:
        """Replacing an earlier output, which must be there until the new one is."""

        def prepare(folder: Path) -> None:
            (folder / "out").mkdir()
            shutil.copy(self.folder / "merged" / "model.safetensors", folder / "out")
            (folder / "out" / "config.json").write_text("old")

        def check(folder: Path, command: Command) -> None:
            aside = [path for path in folder.iterdir() if path.name.startswith(".out.old-")]
            old = aside[0] if aside and not (folder / "out").exists() else folder / "out"
            if (old / "config.json").read_text() != "old":
                assert folder_digests(folder / "out") == self.merged

        words = self._merge_words("--overwrite")
        return Operation("merge --overwrite", words, prepare, check, self._check_merged, {}, 0.0)

    def _merge_words(self, *more: str) -> Callable[[Path], list[object]]:
        return lambda folder: ["merge", self.whole, "-o", folder / "out", "--quiet", *more]

    def _check_merged(self, folder: Path) -> None:
        assert folder_digests(folder / "out") == self.merged
        assert not leftovers(folder), leftovers(folder)

    def _pack(self) -> Operation:
        def check(folder: Path, command: Command) -> None:
            if (folder / "packed.h5").exists():
                assert digest(folder / "packed.h5") == self.packed
            for path in leftovers(folder):
                assert command.code is not None
                assert command.code < 0, path
                os.utime(path, (0, 0))  # ten minutes later

        def check_whole(folder: Path) -> None:
            assert digest(folder / "packed.h5") == self.packed
            assert not leftovers(folder), leftovers(folder)
            Run.open(folder / "packed.h5")

        def words(folder: Path) -> list[object]:
            return ["pack", self.whole, folder / "packed.h5", "--quiet"]

        return Operation("pack", words, lambda folder: None, check, check_whole, {}, 0.0)


def attempt(bench: Bench, operation: Operation, disturbance: Disturbance) -> str:
    """Disturb a command, check what it left, run it again to the end, check that; return and note what came of it."""
    folder = bench.fresh_folder()
    operation.prepare(folder)
    command = disturbance.carry_out(bench.zygote, folder, *operation.words(folder))
    outcome = _judged(command, disturbance)
    operation.check(folder, command)
    again = operation.words(folder)
    if command.code == 0 and operation.name != "analyze":
        again = []  # it is done, and doing it again would be refused
    elif operation.name in ("merge", "pack") and any((folder / name).exists() for name in ("out", "packed.h5")):
        again.append("--overwrite")
    if again:
        resumed = bench.zygote.run(folder, *again)
        assert resumed.code == 0, (disturbance, resumed.err)
    try:
        operation.check_whole(folder)
    except AssertionError as error:
        error.add_note(f"after {disturbance}, exit {command.code}, {command.err!r}; run again: {bool(again)}")
        raise
    note(operation.name, disturbance.fault, outcome)
    shutil.rmtree(folder)
    return outcome


def _judged(command: Command, disturbance: Disturbance) -> str:
    """What the command said of the disturbance, checked to be one line with the right exit code."""
    assert command.code is not None
    name = disturbance.fault.split(" ")[0]
    if command.code == 0:
        return "had ended before" if disturbance.number else OK
    if command.code < 0:
        assert name in ("SIGKILL", "HALF") or signal.Signals(-command.code).name == name, command.code
        return "killed; resumed"
    said = one_line(command.err)
    if name in LEAVES:
        assert command.code == LEAVES[name], said
        return "one line, exit 130; resumed"
    assert command.code == 1, (command.code, said)
    # A source, or the output while it is checked.
    assert "at read" not in disturbance.fault or "/models/" in said or "/out/" in said, said
    return "one line, exit 1; resumed"


def random_kills(operation: Operation, count: int, seed: int, signals: tuple[str, ...] = SIGNALS) -> list[Disturbance]:
    """Signals at moments spread over the time of an undisturbed run."""
    chance = random.Random(f"{operation.name} {seed}")
    made = []
    for position in range(count):
        name = signals[position % len(signals)]
        after = chance.uniform(0.0, 0.8) * operation.seconds
        made.append(Disturbance(f"{name} at a random moment", after=after, number=getattr(signal, name)))
    return made


def faults_at_points(operation: Operation, each: int, seed: int) -> list[Disturbance]:
    """Errors and kills at accesses chosen evenly by chance over each operation of the disk."""
    chance = random.Random(f"{operation.name} {seed}")
    made = []
    for access in OPERATIONS:
        errors = ("EIO", "ESTALE") if access == "read" else ERRORS
        for action in (*errors, *KILLS.get(access, ("SIGKILL",))):
            count = operation.counts.get(access, 0)
            for part in range(min(each, count)):
                number = 1 + int((part + chance.random()) * count / min(each, count))
                stays = "+" if action in ERRORS and chance.random() < 0.5 else ""
                named = f"{action} at {access}" if action not in ("SHORT", "HALF") else f"{action} {access}"
                made.append(Disturbance(named, plan=f"{access}:{action}:{number}{stays}"))
    return made


def leftovers(folder: Path) -> list[Path]:
    """Temporary files and folders, but for a job's status of a few hundred bytes, which goes after a minute."""
    named = [path for path in folder.rglob("*") if ".tmp-" in path.name or ".old-" in path.name or path.name == "lock"]
    return [path for path in named if path.parent.name != "jobs"]


def identities(run: Path) -> dict[int, tuple[int, int]]:
    """File and time of every layer that is said to be done; the run must open whenever it exists."""
    if not (run / "run.json").exists():
        return {}
    found = {}
    for record in Run.open(run).records():
        if record["status"] == "done":
            status = (run / record["file"]).stat()
            found[record["index"]] = (status.st_ino, status.st_mtime_ns)
    return found


def layer_digests(run: Path) -> dict[str, str]:
    """What every finished layer holds, wherever it is kept: small layers share files, by how fast they came."""
    opened = Run.open(run)
    found = {}
    for record in opened.records():
        if record["status"] == "done":
            arrays = opened.arrays(record["index"])
            parts = [f"{name} {array.dtype} {array.shape}".encode() + array.tobytes() for name, array in arrays.items()]
            found[record["name"]] = hashlib.sha256(b"".join(parts)).hexdigest()
    return found


def records_of(run: Path) -> list[dict[str, Any]]:
    """Records without what differs from one run to the next."""
    return [{key: value for key, value in record.items() if key not in VOLATILE} for record in Run.open(run).records()]


def folder_digests(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted(folder.iterdir())}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
