"""Coverage-guided fuzzing of everything that reads a stranger's file, with atheris.

python -m tests.trust.fuzz [--seconds 60] [TARGET ...]    fuzz these readers, or all, one after another

Where Hypothesis (`tests.trust.test_hostile`) makes hostile values and runs whole commands, libFuzzer looks for bytes
that reach new lines of our readers, thousands of files in a second, whatever they mean. A reader may return, or raise
an error that the program foresaw, in one printable line; anything else, ten seconds without an end, or a gigabyte of
memory, is a finding: its bytes are kept as build/fuzz/TARGET.crash-….
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.trust.scale import note

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "fuzz"
LIMITS = ["-timeout=10", "-rss_limit_mb=3000", "-malloc_limit_mb=1000", "-max_len=8192", "-print_final_stats=1"]
OUTCOME = "read, or one line"


def safely(read: Callable[[Path], object]) -> Callable[[Path], None]:
    """The reader, with the errors that it may raise checked to be foreseen and in one printable line."""
    from globa_tui.diagnostics import message

    def judged(path: Path) -> None:
        try:
            read(path)
        except Exception as error:
            said = message(error)
            if "--debug shows where" in said or not said.isprintable():
                raise

    return judged


def checkpoint(folder: Path) -> None:
    """Open it, fit it to a base that it may or may not be a fine-tune of, and read every value."""
    from store.checkpoints import IndexReader, TensorReader, build_index, open_checkpoint
    from store.errors import CheckpointError
    from tests.trust import fuzz_seeds

    found = open_checkpoint(str(folder))
    with TensorReader(found) as reader:
        for name in found.tensors if not found.adapter else ():
            with contextlib.suppress(CheckpointError):  # a type that torch lacks, say
                reader.read(name)
    index = build_index(open_checkpoint(str(fuzz_seeds.place() / "base")), [found], vocab="union")
    if not any(finding.severity == "error" for finding in index.findings):
        with IndexReader(index) as values:
            for layer in index.layers:
                values.read(layer)


def run(path: Path) -> None:
    """What a table, a merge or a packing reads of a run; of its layers the first."""
    from store.run import Run

    opened = Run.open(path)
    done = [record["index"] for record in opened.records() if record["status"] == "done"]
    for index in done[:1]:
        opened.arrays(index)


def job(folder: Path) -> None:
    """What tells whether a job works on a run, and what it was asked for."""
    from globa_tui.jobs.protocol import liveness, read_control, read_status
    from store.run import read_lock

    read_lock(folder)
    read_control(folder, "analyze")
    if (status := read_status(folder, "analyze")) is not None:
        liveness(status)


def recipe(path: Path) -> None:
    """A recipe that is read means the same after it was written."""
    from globa_tui import safe_yaml
    from globa_tui.mergekit import from_mergekit, is_mergekit
    from globa_tui.recipe import Recipe

    text = safe_yaml.read(path)
    values = safe_yaml.load(text)
    if is_mergekit(values):
        found = from_mergekit(values, names=lambda base: ["model.layers.0.mlp.up_proj.weight"])
    else:
        found = Recipe.from_yaml(text)
    assert Recipe.from_yaml(found.to_yaml()).to_yaml() == found.to_yaml()
    found.equivalent_command()


def keymap(path: Path) -> None:
    from globa_tui.tui.keymap import read_keymap

    read_keymap(path)


TARGETS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "safetensors": ("ft1/model.safetensors", checkpoint),
    "base": ("base/model.safetensors", checkpoint),
    "index": ("shards/model.safetensors.index.json", checkpoint),
    "config": ("ft1/config.json", checkpoint),
    "tokenizer": ("ft1/tokenizer.json", checkpoint),
    "tokenizer_config": ("ft1/tokenizer_config.json", checkpoint),
    "adapter_config": ("adapter/adapter_config.json", checkpoint),
    "adapter": ("adapter/adapter_model.safetensors", checkpoint),
    "recipe": ("recipe.yaml", recipe),
    "mergekit": ("mergekit.yaml", recipe),
    "keymap": ("config.toml", keymap),
    "run": ("run.globa/run.json", run),
    "summary": ("run.globa/summary.jsonl", run),
    "status": ("run.globa/jobs/analyze.json", job),
    "lock": ("run.globa/lock", job),
    "control": ("run.globa/jobs/analyze.control", job),
    "layer": ("run.globa/layers/*", run),
    "packed": ("packed.h5", run),
}
"""The file that is fuzzed for each target, and what reads the checkpoint or run that it belongs to."""


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    pattern, read = TARGETS[name]
    with atheris.instrument_imports(include=["store", "globa_tui"]):
        from tests.trust import fuzz_seeds

        judged = safely(read)
        place = fuzz_seeds.place()
        file = next(iter(sorted(place.glob(pattern))), place / pattern)
        whole = place / pattern.split("/")[0]
        read(whole)  # imports what it needs; and the seed has to be fine

    def one(data: bytes) -> None:
        file.write_bytes(data)
        judged(whole)

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def campaign(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; whether nothing was found."""
    from tests.trust import fuzz_seeds

    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        place = Path(folder)
        shutil.copytree(fuzz_seeds.place(), place / "place")
        corpus = place / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(sorted((place / "place").glob(TARGETS[name][0]))):
            shutil.copy(seed, corpus / str(number))
        KEPT.mkdir(parents=True, exist_ok=True)
        options = [*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={KEPT / name}.", str(corpus)]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.trust.fuzz", "--inside", name, *options],
            cwd=ROOT,
            env={**os.environ, fuzz_seeds.PLACE: str(place / "place"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            errors="replace",
        )
    tried = re.search(r"stat::number_of_executed_units: +(\d+)", ended.stderr)
    count = int(tried[1]) if tried else 0
    print(f"{name:17} {count:>8,} files, {'nothing found' if not ended.returncode else 'FOUND SOMETHING'}", flush=True)
    if ended.returncode:
        print(ended.stderr[-4000:])
    elif count:
        note("read", f"fuzzed {Path(TARGETS[name][0]).name.replace('*', 'layer file')}", OUTCOME, count)
    return not ended.returncode and count > 0


def main() -> int:
    if sys.argv[1:2] == ["--inside"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    given = parser.parse_args()
    from tests.trust import fuzz_seeds

    with fuzz_seeds.made():
        return int(not all([campaign(name, given.seconds) for name in given.targets]))


if __name__ == "__main__":
    sys.exit(main())
