"""Links, pipes, devices and folders where files are expected: nothing hangs, nothing outside is read or written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trust.kitchen import Kitchen
from tests.trust.scale import note, rounds
from tests.trust.watch import judged

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes"),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("hostile"),
]

SECRET = "a secret of the reader's own"


def _link(path: Path, outside: Path) -> None:
    if path.is_dir():
        (outside / "inside").mkdir(exist_ok=True)
        path.symlink_to(outside / "inside") if not path.exists() else _swap_folder(path, outside / "inside")
    else:
        path.unlink(missing_ok=True)
        path.symlink_to(outside / "secret")


def _swap_folder(path: Path, target: Path) -> None:
    for entry in path.iterdir():
        entry.rename(target / entry.name)
    path.rmdir()
    path.symlink_to(target)


def _fifo(path: Path, outside: Path) -> None:
    _cleared(path)
    os.mkfifo(path)


def _device(path: Path, outside: Path) -> None:
    _cleared(path)
    path.symlink_to("/dev/zero")


def _folder(path: Path, outside: Path) -> None:
    _cleared(path)
    path.mkdir()


def _cleared(path: Path) -> None:
    if path.is_dir():
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


KINDS: dict[str, Callable[[Path, Path], None]] = {"link": _link, "pipe": _fifo, "device": _device, "folder": _folder}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path


def untouched(outside: Path) -> None:
    assert (outside / "secret").read_text() == SECRET
    assert {path.name for path in outside.iterdir()} <= {"secret", "inside"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "adapter_config.json"])
def test_in_a_checkpoint(kitchen: Kitchen, outside: Path, file: str, kind: str) -> None:
    model = kitchen.copy(kitchen.base if not file.startswith("adapter") else kitchen.adapter)
    KINDS[kind](model / file, outside)
    for sources in ((model, kitchen.tuned), (kitchen.base, model)):
        kitchen.merge(*sources)
    untouched(outside)
    out = kitchen.folder / "out" / "merged"
    for path in out.iterdir() if out.exists() else ():
        assert not path.is_symlink()
        assert SECRET.encode() not in path.read_bytes()
    note("merge", f"{kind} as a file of a checkpoint", "refused, or left out")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../secret", "a/../../secret", "..\\secret", "shard\0", "", ".", "~/secret", "x" * 300]
)
def test_a_shard_outside_the_folder(kitchen: Kitchen, outside: Path, name: str) -> None:
    model = kitchen.copy(kitchen.folder / "shards")
    index = model / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["weight_map"][next(iter(document["weight_map"]))] = name
    index.write_text(json.dumps(document))
    kitchen.merge(kitchen.base, model, codes=frozenset({1}))
    note("merge", "shard named outside the folder", "one line, exit 1")


IN_A_RUN = [
    "run.json",
    "summary.jsonl",
    "lock",
    "jobs/analyze.json",
    "jobs/merge.json",
    "jobs/analyze.control",
    "layers",
    "jobs",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*IN_A_RUN, "a layer"])
def test_in_a_run(kitchen: Kitchen, outside: Path, name: str, kind: str) -> None:
    if name == "layers" and kind == "folder":
        pytest.skip("it is one")
    every = [["show"], ["merge"], ["analyze"], ["status"], ["pack"], ["show", "--json"]]
    for words in every[: rounds(3, 6)]:
        run = kitchen.copy(kitchen.run)
        place = run / name if name != "a layer" else sorted((run / "layers").iterdir())[0]
        KINDS[kind](place, outside)
        before = {path.name: path.read_bytes() for path in (outside / "inside").glob("*")}
        if words == ["merge"]:
            kitchen.merge(run, codes=frozenset({0, 1, 2, 3, 4}))
        else:
            more: list[object] = []
            if words == ["pack"]:
                more = [kitchen.folder / "changed" / "again.h5", "--quiet"]
            if words == ["analyze"]:
                judged({0, 1, 4}, "analyze", *kitchen.sources, "--store", run, "--quiet", folders=(kitchen.folder,))
            else:
                judged({0, 1, 4}, words[0], run, *words[1:], *more, folders=(kitchen.folder,))
        untouched(outside)
        assert {path.name: path.read_bytes() for path in (outside / "inside").glob("*")} == before
        for path in [*(outside / "inside").glob("*")]:
            path.unlink()
        note(words[0], f"{kind} as a file of a run", "refused, or read around")
