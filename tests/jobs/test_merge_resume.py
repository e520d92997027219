"""A merge that was interrupted goes on where it stopped, and believes nothing that it cannot verify."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.progress import Progress
from globa_tui.recipe import Recipe, parse_coef
from store.merged.journal import JOURNAL_FILE
from tests.jobs.family import family

TENSORS = 16
STOP = 9


def recipe_for(folder: Path, method: str = "globa", **more: Any) -> Recipe:
    base, fine_tuned = family(folder)
    return Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), method=method, shard_size=6000, **more)


def interrupted(recipe: Recipe, out: Path, after: int = STOP) -> Path:
    """Merge until `after` tensors are written, then press ctrl-C; the folder that is left."""

    def press(progress: Progress) -> None:
        if progress.state == "running" and progress.done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_merge(recipe, out, listener=press)
    assert not out.exists()
    [left] = out.parent.glob(f".{out.name}.tmp-*")
    return left


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Of sources that stay as they are."""
    return recipe_for(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What it gives undisturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run_merge(recipe, out)
    return contents(out)


@pytest.mark.parametrize(("method", "looks"), [("globa", 0), ("linear", 0), ("dare_linear", 0), ("ties", 3)])
def test_what_was_written_is_not_merged_again(tmp_path, method, looks) -> None:
    recipe = recipe_for(tmp_path, method)
    whole = run_merge(recipe, tmp_path / "whole")
    # TIES looks at every tensor three times before it merges the first.
    interrupted(recipe, tmp_path / "out", after=STOP + looks * TENSORS)
    result = run_merge(recipe, tmp_path / "out")
    assert result.resumed >= 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert result.drift.keys() == whole.drift.keys()
    assert result.drift["model.norm.weight"].relative == pytest.approx(whole.drift["model.norm.weight"].relative)
    assert not list(tmp_path.glob(".out.*"))


def test_a_tensor_whose_bytes_are_not_what_was_noted_is_merged_again(tmp_path, recipe, whole) -> None:
    left = interrupted(recipe, tmp_path / "out")
    shard = next(iter(sorted(left.glob("*.safetensors"))))
    data = bytearray(shard.read_bytes())
    data[-8:] = bytes(8)
    shard.write_bytes(data)
    result = run_merge(recipe, tmp_path / "out")
    assert result.resumed == STOP - 1
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("harm", ["torn", "garbage", "empty", "gone", "cut shard", "missing shard"])
def test_a_damaged_list_or_shard_costs_time_only(tmp_path, recipe, whole, harm) -> None:
    left = interrupted(recipe, tmp_path / "out")
    journal = left / JOURNAL_FILE
    text = journal.read_text()
    shard = next(iter(sorted(left.glob("*.safetensors"))))
    if harm == "torn":
        journal.write_text(text[:-20])
    elif harm == "garbage":
        journal.write_bytes(b"\xff\0{]" + text.encode())
    elif harm == "empty":
        journal.write_text("")
    elif harm == "gone":
        journal.unlink()
    elif harm == "cut shard":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shard.unlink()
    result = run_merge(recipe, tmp_path / "out")
    assert result.resumed == (STOP - 1 if harm == "torn" else 0)
    assert contents(tmp_path / "out") == whole


def test_another_merge_does_not_take_it_up(tmp_path) -> None:
    """Another recipe, and the same recipe after a source has changed."""
    recipe = recipe_for(tmp_path)
    interrupted(recipe, tmp_path / "out")
    other = recipe.with_override(parse_coef("mlp:D-=0"))
    result = run_merge(other, tmp_path / "out")
    assert result.resumed == 0
    run_merge(other, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    interrupted(recipe, tmp_path / "again")
    os.utime(tmp_path / "ft1" / "model.safetensors", ns=(1, 1))
    assert run_merge(recipe, tmp_path / "again").resumed == 0


def test_a_note_for_another_place_is_not_believed(tmp_path, recipe) -> None:
    left = interrupted(recipe, tmp_path / "out")
    with (left / JOURNAL_FILE).open("a") as file:
        for entry in ({"tensor": "nothing", "part": None}, {"tensor": "model.norm.weight", "part": 99}, {"tensor": 3}):
            file.write(json.dumps(entry | {"crc32": 0, "note": {}}) + "\n")
    assert run_merge(recipe, tmp_path / "out").resumed == STOP


def test_an_error_leaves_nothing(tmp_path, recipe) -> None:
    def fail(progress: Progress) -> None:
        if progress.done == STOP:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_merge(recipe, tmp_path / "out", MergeOptions(), fail)
    assert not list(tmp_path.glob(".out.*"))


PROGRAM = """
import sys, os
from pathlib import Path
from globa_tui.jobs.merge import run_merge
from globa_tui.recipe import Recipe
recipe, out = Recipe.read(Path(sys.argv[1])), Path(sys.argv[2])
while True:
    pid = os.fork()
    if pid == 0:
        result = run_merge(recipe, out)
        print(f"resumed {result.resumed}", flush=True)
        os._exit(0)
    print(pid, flush=True)
    if os.waitpid(pid, 0)[1] == 0:
        break
"""


def test_kills_at_any_moment(tmp_path) -> None:
    base, fine_tuned = family(tmp_path, blocks=20)
    recipe = Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), shard_size=20000)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    chance = random.Random(7)
    job = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "recipe.yaml"), str(tmp_path / "out")],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert job.stdout is not None
    kills = 0
    for line in job.stdout:
        if not line.startswith("resumed") and kills < 6:
            time.sleep(chance.uniform(0.05, 0.2))
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(int(line), signal.SIGKILL)
            kills += 1
    job.communicate(timeout=60)
    assert job.returncode == 0
    # How much was resumed depends on when the kills fell; other tests count it.
    run_merge(recipe, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob(".out.*"))
